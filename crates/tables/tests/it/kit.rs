//! What the tests share: an engine in a temporary folder, and pictures small enough to make by hand.

use arrow_array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use futures::TryStreamExt;
use kaogong_data::tables::{
    BadFiles, BrowseQuery, Change, Committed, CsvOptions, ExportQuery, ImageImportPlan, ImageRow, ItemIn, Progress,
    Rows, SplitPlan, TableEngine, TableFormat, TableImportPlan, TableRow, VersionAt, VersionPins,
};
use kaogong_domain::{Problem, Timestamp, ids::DatasetId};
use kaogong_tables::LanceTables;
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use std::path::PathBuf;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// An engine and one dataset in a folder that goes away with it.
pub(crate) struct Kit {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: LanceTables,
    pub(crate) dataset: DatasetId,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let engine = LanceTables::open(dir.path().join("datasets")).expect("an engine");
        Self { dir, engine, dataset: DatasetId::generate(NOW) }
    }

    pub(crate) fn at(&self, pins: &VersionPins) -> VersionAt {
        VersionAt { dataset: self.dataset, pins: pins.clone() }
    }

    pub(crate) fn images_plan(&self, change: Change) -> ImageImportPlan {
        ImageImportPlan {
            dataset: self.dataset,
            change,
            split: Some(plan_80_20(7)),
            bad_files: BadFiles::Skip,
            folders: kaogong_data::folder::FolderReport::default(),
            author: "usr_test".to_owned(),
            now: NOW,
        }
    }

    pub(crate) async fn import_images(&self, change: Change, items: Vec<ItemIn>) -> Result<Committed, Problem> {
        self.import_images_as(self.images_plan(change), items).await
    }

    pub(crate) async fn import_images_as(
        &self,
        plan: ImageImportPlan,
        items: Vec<ItemIn>,
    ) -> Result<Committed, Problem> {
        let mut import = self.engine.begin_images(plan).await?;
        for item in items {
            import.push(item).await?;
        }
        import.finish().await
    }

    /// Puts a file beside the engine.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("a writable folder");
        path
    }

    pub(crate) fn table_plan(&self, path: PathBuf, format: TableFormat) -> TableImportPlan {
        TableImportPlan {
            dataset: self.dataset,
            change: Change::Replace,
            path,
            format,
            csv: CsvOptions::default(),
            target: None,
            split: None,
            original: None,
            now: NOW,
            progress: Progress::default(),
        }
    }

    pub(crate) async fn import_csv(&self, text: impl AsRef<[u8]>) -> Result<Committed, Problem> {
        let path = self.file("in.csv", text);
        self.engine.import_table(self.table_plan(path, TableFormat::Csv)).await
    }

    pub(crate) async fn images(&self, pins: &VersionPins, query: BrowseQuery) -> (u64, Vec<ImageRow>) {
        let page = self.engine.browse(&self.at(pins), &query).await.expect("a page");
        match page.rows {
            Rows::Images(rows) => (page.total, rows),
            Rows::Table(_) => panic!("pictures were expected"),
        }
    }

    pub(crate) async fn rows(&self, pins: &VersionPins, query: BrowseQuery) -> (u64, Vec<TableRow>) {
        let page = self.engine.browse(&self.at(pins), &query).await.expect("a page");
        match page.rows {
            Rows::Table(rows) => (page.total, rows),
            Rows::Images(_) => panic!("rows were expected"),
        }
    }

    pub(crate) async fn export(&self, pins: &VersionPins, query: ExportQuery) -> Vec<u8> {
        let pieces = self.engine.export_table(&self.at(pins), query).await.expect("an export");
        let pieces: Vec<Bytes> = pieces.try_collect().await.expect("all pieces");
        pieces.concat()
    }

    pub(crate) async fn export_as(&self, made: &Committed, format: TableFormat) -> Vec<u8> {
        self.export(&made.pins, ExportQuery { format, split: None }).await
    }

    pub(crate) async fn export_csv(&self, made: &Committed) -> String {
        String::from_utf8(self.export_as(made, TableFormat::Csv).await).expect("text")
    }

    /// Imports a Parquet file, or a tar stream of such files.
    pub(crate) async fn import_parquet(&self, bytes: impl AsRef<[u8]>) -> Result<Committed, Problem> {
        let path = self.file("in.parquet", bytes);
        self.engine.import_table(self.table_plan(path, TableFormat::Parquet)).await
    }

    /// All files below the dataset's folder.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        walkdir::WalkDir::new(self.engine.dataset_dir(self.dataset))
            .into_iter()
            .flatten()
            .filter(|it| it.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect()
    }
}

/// A Parquet file of one batch.
pub(crate) fn parquet_file(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("rows");
    writer.close().expect("a footer");
    bytes
}

/// The first batch of a Parquet file.
pub(crate) fn reread(bytes: Vec<u8>) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).expect("a Parquet file");
    let mut batches = reader.build().expect("a reader");
    batches.next().expect("a batch").expect("rows")
}

/// A file of these columns.
pub(crate) fn parquet_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    parquet_file(&RecordBatch::try_from_iter(columns).expect("a batch"))
}

pub(crate) fn plan_80_20(seed: u64) -> SplitPlan {
    SplitPlan { seed, train_percent: 80, validation_percent: 0, test_percent: 20 }
}

pub(crate) fn all() -> BrowseQuery {
    BrowseQuery { limit: 500, ..BrowseQuery::default() }
}

/// A BMP of `width` × 1 grey pixels; `tint` makes contents differ.
pub(crate) fn picture(width: u8, tint: u8) -> Bytes {
    let row = (usize::from(width) * 3).div_ceil(4) * 4;
    let size = (54 + row) as u32;
    let mut bytes = b"BM".to_vec();
    bytes.extend(size.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(54u32.to_le_bytes());
    bytes.extend(40u32.to_le_bytes());
    bytes.extend(u32::from(width).to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(24u16.to_le_bytes());
    bytes.extend([0; 24]);
    bytes.extend(std::iter::repeat_n(tint, row));
    bytes.into()
}

pub(crate) fn item(name: &str, label: Option<&str>, bytes: Bytes) -> ItemIn {
    ItemIn { source_name: name.as_bytes().to_vec(), label: label.map(str::to_owned), split: None, bytes }
}

/// `count` pictures in the classes `a` and `b` by turns, all different.
pub(crate) fn pictures(prefix: &str, count: u8) -> Vec<ItemIn> {
    let label = |at: u8| if at.is_multiple_of(2) { "a" } else { "b" };
    (0..count).map(|at| item(&format!("{prefix}/{at}.bmp"), Some(label(at)), picture(2 + at % 3, at))).collect()
}
