//! Datasets, versions and items as they are shown.

use kaogong_api::datasets::{
    ColumnImportView, ColumnView, DatasetView, FolderLevelView, FoldersView, ImportNoteView, ItemView, PixelRange,
    SkippedView, SummaryView, VersionView,
};
use kaogong_control::Services;
use kaogong_data::{
    folder::{FolderLevel, FolderReport},
    images::PictureFormat,
    tables::{ColumnKind, Histogram, RowRead, VersionAt, VersionPins, VersionSummary},
};
use kaogong_domain::Problem;
use kaogong_store::{DatasetRow, VersionRow};
use std::collections::BTreeMap;

/// How the table engine names a version.
pub(crate) fn at(dataset: &DatasetRow, version: &VersionRow) -> Result<VersionAt, Problem> {
    let pins: VersionPins = serde_json::from_str(&version.pins)
        .map_err(|it| Problem::bug(format!("version {} has unreadable pins", version.id), it))?;
    Ok(VersionAt { dataset: dataset.id, pins })
}

/// What is in a version, as it was found at import.
pub(crate) fn summary_of(version: &VersionRow) -> Result<VersionSummary, Problem> {
    serde_json::from_str(&version.summary)
        .map_err(|it| Problem::bug(format!("version {} has an unreadable summary", version.id), it))
}

/// A dataset with its newest version, whose number says how many there are.
pub(super) async fn dataset_view(
    app: &Services,
    row: DatasetRow,
    newest: Option<VersionRow>,
) -> Result<DatasetView, Problem> {
    let versions = newest.as_ref().map_or(0, |it| it.number);
    let latest = match newest {
        Some(it) => view_if_possible(app, &row, it).await,
        None => None,
    };
    Ok(DatasetView {
        id: row.id.to_string(),
        name: row.name.to_string(),
        title: row.title,
        kind: row.kind.as_str().to_owned(),
        description: row.description,
        created_at: row.created_at.as_ms(),
        created_by: app.user_name(row.created_by).await?,
        latest,
        versions,
    })
}

/// A version in a list: one that is damaged on the disk must not hide the others, so it is shown with what the
/// store knows, and left out when not even that can be read. Asked for by itself, it says what is wrong.
pub(super) async fn view_if_possible(app: &Services, dataset: &DatasetRow, row: VersionRow) -> Option<VersionView> {
    let (id, counted) = (row.id, counted_classes(app, dataset, &row).await);
    let classes = counted.unwrap_or_else(|problem| {
        tracing::error!(dataset = %dataset.id, version = %id, "version {id} of dataset {} is damaged: {problem}", dataset.name);
        BTreeMap::new()
    });
    match view_with(app, dataset, row, classes).await {
        Ok(view) => Some(view),
        Err(problem) => {
            tracing::error!(dataset = %dataset.id, version = %id, "version {id} of dataset {} is left out: {problem}", dataset.name);
            None
        }
    }
}

pub(crate) async fn version_view(
    app: &Services,
    dataset: &DatasetRow,
    row: VersionRow,
) -> Result<VersionView, Problem> {
    let classes = counted_classes(app, dataset, &row).await?;
    view_with(app, dataset, row, classes).await
}

/// Items by class, then by split.
type Classes = BTreeMap<String, BTreeMap<String, u64>>;

/// Items by class and split, as the catalogue has them. In a version of an older program they are counted once.
async fn counted_classes(app: &Services, dataset: &DatasetRow, row: &VersionRow) -> Result<Classes, Problem> {
    let histogram: Histogram = match &row.histogram {
        Some(text) => serde_json::from_str(text)
            .map_err(|it| Problem::bug(format!("version {} has unreadable counts", row.id), it))?,
        None => {
            let counted = app.tables.histogram(&at(dataset, row)?).await?;
            app.store.set_version_histogram(row.id, &histogram_text(&counted)?).await?;
            counted
        }
    };
    let mut classes = BTreeMap::new();
    for it in &histogram.rows {
        let counts: BTreeMap<String, u64> =
            [("train", it.train), ("validation", it.validation), ("test", it.test), ("none", it.none)]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(split, count)| (split.to_owned(), count))
                .collect();
        if let Some(label) = &it.label {
            classes.insert(label.clone(), counts);
        }
    }
    Ok(classes)
}

/// Counts as the catalogue keeps them.
pub(crate) fn histogram_text(it: &Histogram) -> Result<String, Problem> {
    serde_json::to_string(it).map_err(|it| Problem::bug("the counts of a version cannot be written", it))
}

async fn view_with(
    app: &Services,
    dataset: &DatasetRow,
    row: VersionRow,
    classes: Classes,
) -> Result<VersionView, Problem> {
    let summary = summary_view(&summary_of(&row)?, classes, row.split_seed);
    Ok(VersionView {
        id: row.id.to_string(),
        dataset: dataset.name.to_string(),
        number: row.number,
        message: row.message,
        source: row.source,
        items: row.items,
        bytes: row.bytes,
        created_at: row.created_at.as_ms(),
        created_by: app.user_name(row.created_by).await?,
        summary,
    })
}

fn summary_view(it: &VersionSummary, classes: Classes, split_seed: Option<u64>) -> SummaryView {
    SummaryView {
        kind: it.kind.as_str().to_owned(),
        classes,
        splits: it.splits.iter().map(|it| (it.split.as_str().to_owned(), it.count)).collect(),
        split_seed,
        columns: it.columns.iter().map(column_view).collect(),
        target: it.target.clone(),
        pixels: it.images.as_ref().map(|it| PixelRange {
            width_min: it.width_min,
            width_max: it.width_max,
            height_min: it.height_min,
            height_max: it.height_max,
        }),
        samples: it.images.iter().flat_map(|it| &it.samples).map(|it| (it.label.clone(), it.count)).collect(),
        folders: it.folders.as_ref().map(folders_view),
        skipped: it
            .warnings
            .listed
            .iter()
            .take(100)
            .map(|it| SkippedView { name: it.source_name.clone(), reason: it.reason.clone() })
            .collect(),
        skipped_total: it.warnings.total,
        notes: it
            .notes
            .iter()
            .map(|it| ImportNoteView { kind: it.kind.as_str().to_owned(), detail: it.detail.clone() })
            .collect(),
    }
}

fn folders_view(it: &FolderReport) -> FoldersView {
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let level = |it: &FolderLevel| FolderLevelView {
        level: number(it.level),
        names: it.names as u64,
        examples: it.examples.clone(),
    };
    FoldersView {
        levels: it.levels.iter().map(level).collect(),
        class_level: it.class_level.map(number),
        is_unsure: it.is_unsure,
        note: it.note.clone(),
    }
}

fn column_view(it: &kaogong_data::tables::Column) -> ColumnView {
    let kind = match it.kind {
        ColumnKind::Boolean => "boolean",
        ColumnKind::Integer => "integer",
        ColumnKind::Float => "number",
        ColumnKind::Text => "text",
        ColumnKind::Time if it.data_type.starts_with("Date") => "date",
        ColumnKind::Time => "timestamp",
        ColumnKind::Binary => "binary",
        ColumnKind::Other => "other",
    };
    ColumnView {
        name: it.shown_name().to_owned(),
        kind: kind.to_owned(),
        nulls: it.nulls,
        distinct: it.distinct,
        min: it.min.as_f64(),
        max: it.max.as_f64(),
        mean: it.mean,
        data_type: it.data_type.clone(),
        import: it.import.as_ref().map(|it| ColumnImportView {
            why: it.why.as_str().to_owned(),
            example: it.example.clone(),
            line: it.line,
            null_words: it.null_words,
            respelt: it.respelt,
            changed: it.changed,
            renamed_from: it.renamed_from.clone(),
        }),
    }
}

pub(super) fn item_view(row: RowRead, summary: &VersionSummary) -> ItemView {
    match row {
        RowRead::Image(it) => ItemView {
            id: it.item.to_string(),
            name: it.name,
            label: it.label,
            split: it.split.map(|it| it.as_str().to_owned()),
            bytes: it.bytes,
            media_type: PictureFormat::parse(&it.format).map(|it| it.media_type().to_owned()),
            width: Some(it.width),
            height: Some(it.height),
            content_hash: Some(it.content_hash.to_string()),
            values: None,
        },
        RowRead::Table(it) => {
            let names = summary.columns.iter().map(|it| it.shown_name().to_owned());
            ItemView {
                id: it.item.to_string(),
                name: format!("row {}", it.row + 1),
                label: it.label,
                split: it.split.map(|it| it.as_str().to_owned()),
                bytes: 0,
                media_type: None,
                width: None,
                height: None,
                content_hash: None,
                values: Some(names.zip(it.values).collect()),
            }
        }
    }
}
