//! Times the raw import path: `import_bench SOURCE STORE` imports a folder of pictures, or one CSV or Parquet
//! file, and prints seconds.
//!
//! The files are read into memory first, so that the figure is the engine's own: looking at every picture,
//! hashing, writing, committing, indexing. The raw limit printed beside is writing the same bytes to one file.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use bytes::Bytes;
use futures::TryStreamExt;
use kaogong_data::{
    folder::{self, LabelsFrom},
    tables::{
        BadFiles, BrowseQuery, Change, CsvOptions, ExportQuery, ImageImportPlan, ItemIn, Progress, SplitPlan,
        StreamQuery, TableEngine, TableFormat, TableImportPlan, VersionAt,
    },
};
use kaogong_domain::{Timestamp, ids::DatasetId};
use kaogong_tables::LanceTables;
use std::{error::Error, fs, io::Write, path::Path, time::Instant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(store)) = (args.next(), args.next()) else {
        return Err("usage: import_bench SOURCE STORE".into());
    };
    fs::create_dir_all(&store)?;
    if Path::new(&folder).is_file() {
        return import_table(Path::new(&folder), &store).await;
    }
    let (names, files) = read_all(Path::new(&folder))?;
    let bytes: usize = files.iter().map(Bytes::len).sum();
    println!("{} files, {bytes} bytes", files.len());
    match raw_write(Path::new(&store), &files) {
        Ok(seconds) => println!("raw write of the bytes   {seconds:8.3} s"),
        Err(error) => println!("raw write of the bytes failed: {error}"),
    }

    let engine = LanceTables::open(&store)?;
    let began = Instant::now();
    let plan = folder::plan(&names, LabelsFrom::Auto)?;
    println!("plan of the names        {:8.3} s", began.elapsed().as_secs_f64());
    let dataset = DatasetId::generate(Timestamp(0));
    let began = Instant::now();
    let mut import = engine
        .begin_images(ImageImportPlan {
            dataset,
            change: Change::Replace,
            split: Some(SplitPlan { seed: 1, train_percent: 80, validation_percent: 0, test_percent: 20 }),
            bad_files: BadFiles::Refuse,
            folders: plan.folders,
            author: "bench".to_owned(),
            now: Timestamp(0),
        })
        .await?;
    for file in &plan.files {
        let item = ItemIn {
            source_name: names[file.index].clone().into_bytes(),
            label: file.label.clone(),
            split: file.split,
            bytes: files[file.index].clone(),
        };
        import.push(item).await?;
    }
    println!("  pushed                 {:8.3} s", began.elapsed().as_secs_f64());
    let committed = import.finish().await?;
    println!("import                   {:8.3} s", began.elapsed().as_secs_f64());
    let status = fs::read_to_string("/proc/self/status")?;
    println!(
        "peak memory (with the files): {}",
        status.lines().find(|it| it.starts_with("VmHWM")).unwrap_or("unknown")
    );
    read_back(&engine, VersionAt { dataset, pins: committed.pins }).await
}

async fn import_table(path: &Path, store: &str) -> Result<(), Box<dyn Error>> {
    let format = if path.extension().is_some_and(|it| it == "csv") { TableFormat::Csv } else { TableFormat::Parquet };
    let engine = LanceTables::open(store)?;
    let dataset = DatasetId::generate(Timestamp(0));
    let began = Instant::now();
    let plan = TableImportPlan {
        dataset,
        change: Change::Replace,
        path: path.to_owned(),
        format,
        csv: CsvOptions::default(),
        target: None,
        split: Some(SplitPlan { seed: 1, train_percent: 80, validation_percent: 0, test_percent: 20 }),
        original: None,
        now: Timestamp(0),
        progress: Progress::default(),
    };
    let made = engine.import_table(plan).await?;
    println!("import of {:9} rows {:8.3} s", made.summary.items, began.elapsed().as_secs_f64());
    for format in [TableFormat::Csv, TableFormat::Parquet] {
        let began = Instant::now();
        let at = VersionAt { dataset, pins: made.pins.clone() };
        let pieces = engine.export_table(&at, ExportQuery { format, split: None }).await?;
        let bytes = pieces.try_fold(0, |sum, it| async move { Ok(sum + it.len()) }).await?;
        println!("export to {:7} {bytes:11} {:8.3} s", format.as_str(), began.elapsed().as_secs_f64());
    }
    Ok(())
}

async fn read_back(engine: &LanceTables, at: VersionAt) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    engine.histogram(&at).await?;
    println!("first histogram          {:8.3} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let page = engine.browse(&at, &BrowseQuery { offset: 20_000, limit: 100, ..BrowseQuery::default() }).await?;
    println!("page of {:3}              {:8.3} s", page.rows.len(), began.elapsed().as_secs_f64());
    let began = Instant::now();
    let query = BrowseQuery { text: Some("123".to_owned()), limit: 100, ..BrowseQuery::default() };
    let page = engine.browse(&at, &query).await?;
    println!("text search ({:5} hits)  {:8.3} s", page.total, began.elapsed().as_secs_f64());
    let began = Instant::now();
    let all: Vec<_> = engine.stream_items(&at, StreamQuery::default()).await?.try_collect().await?;
    println!("stream of {:6} items   {:8.3} s", all.iter().map(Vec::len).sum::<usize>(), began.elapsed().as_secs_f64());
    let began = Instant::now();
    for row in all.iter().flatten().step_by(all.len()).take(100) {
        engine.content(&at, row.row.item).await?;
    }
    println!("100 single contents      {:8.3} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn read_all(root: &Path) -> Result<(Vec<String>, Vec<Bytes>), Box<dyn Error>> {
    let (mut names, mut files) = (Vec::new(), Vec::new());
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            names.push(entry.path().strip_prefix(root)?.to_string_lossy().into_owned());
            files.push(fs::read(entry.path())?.into());
        }
    }
    Ok((names, files))
}

fn raw_write(store: &Path, files: &[Bytes]) -> Result<f64, Box<dyn Error>> {
    let began = Instant::now();
    let path = store.join("raw");
    let mut out = std::io::BufWriter::new(fs::File::create(&path)?);
    let written = files.iter().try_for_each(|it| out.write_all(it)).and_then(|()| out.into_inner()?.sync_all());
    fs::remove_file(path)?;
    written?;
    Ok(began.elapsed().as_secs_f64())
}
