//! What browsing joins, kept per version: the items in order, and each one's class and split.
//!
//! A version never changes, so an index never goes stale; a small cache keeps the last ones used. It costs
//! at most 28 bytes an item, and each class name once.

use super::columns_of;
use crate::{
    lance_errors, layout,
    write::{
        collect::{self, Classes, NO_CLASS},
        commit::Tables,
    },
};
use arrow_array::{Array, RecordBatch, cast::AsArray, types::UInt64Type};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use futures::TryStreamExt;
use kaogong_data::tables::{ClassCount, Histogram, HistogramRow, SplitCount, VersionAt};
use kaogong_domain::{
    Problem,
    datasets::{DatasetKind, Split},
    ids::ItemId,
};
use lance::Dataset;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// One version, ready for questions.
#[derive(Debug)]
pub(crate) struct VersionIndex {
    pub(crate) kind: DatasetKind,
    pub(crate) items: Arc<Dataset>,
    /// The stored name of the target column of a table.
    pub(crate) target: Option<String>,
    ids: Vec<ItemId>,
    /// Positions in id order; `None` when the items are in id order already, as imports leave them.
    by_id: Option<Vec<u32>>,
    classes: Classes,
    /// Per item; empty when there are no labels, or too many distinct values to be classes.
    class_of: Vec<u32>,
    /// Size of each picture in bytes; empty for tables.
    sizes: Vec<u32>,
    /// Per item; empty when nothing is split.
    split_of: Vec<Option<Split>>,
}

impl VersionIndex {
    /// Reads the ids, labels and splits of a version.
    pub(crate) async fn load(tables: &Tables, at: &VersionAt) -> Result<Self, Problem> {
        let items = tables.items.open(at.pins.items_version).await?;
        let metadata = &items.schema().metadata;
        let kind = layout::kind_of(metadata).ok_or_else(|| {
            Problem::unavailable(format!("dataset {} holds a table of another program", at.dataset))
                .hint("import the data again instead of copying tables into the data folder")
        })?;
        let target = layout::target_of(metadata).map(str::to_owned);
        let mut index = Self {
            kind,
            target,
            ids: Vec::new(),
            by_id: None,
            classes: Classes::default(),
            class_of: Vec::new(),
            sizes: Vec::new(),
            split_of: Vec::new(),
            items: items.clone(),
        };
        index.read_items(&items).await?;
        if kind == DatasetKind::Images {
            index.read_sizes(&items).await?;
        }
        if let Some(version) = at.pins.labels_version {
            let labels = tables.labels.open(version).await?;
            index.read_labels(&labels).await?;
        }
        if let Some(version) = at.pins.splits_version {
            let splits = tables.splits.open(version).await?;
            index.read_splits(&splits).await?;
        }
        Ok(index)
    }

    async fn read_items(&mut self, items: &Dataset) -> Result<(), Problem> {
        let target = self.target.clone().filter(|it| is_class_type(items, it));
        let mut columns = vec![layout::ITEM_ID];
        columns.extend(target.as_deref());
        let mut classes = TargetClasses::new(target.is_some());
        let mut bad = None;
        each_batch(items, &columns, |batch| {
            for text in batch.column(0).as_string::<i32>().iter().flatten() {
                match text.parse::<ItemId>() {
                    Ok(id) => self.ids.push(id),
                    Err(error) => bad = Some(error),
                }
            }
            if batch.num_columns() > 1 { classes.add(batch.column(1), &mut self.classes) } else { Ok(()) }
        })
        .await?;
        if let Some(error) = bad {
            return Err(Problem::unavailable("a dataset's table holds an id that is none").because(error));
        }
        self.class_of = classes.finish();
        if self.class_of.is_empty() {
            self.classes = Classes::default();
        }
        if !self.ids.is_sorted() {
            let mut order: Vec<u32> = (0..self.ids.len() as u32).collect();
            order.sort_unstable_by_key(|at| self.ids[*at as usize]);
            self.by_id = Some(order);
        }
        Ok(())
    }

    async fn read_sizes(&mut self, items: &Dataset) -> Result<(), Problem> {
        each_batch(items, &[layout::BYTES], |batch| {
            let sizes = batch.column(0).as_primitive::<UInt64Type>().values().iter();
            self.sizes.extend(sizes.map(|it| u32::try_from(*it).unwrap_or(u32::MAX)));
            Ok(())
        })
        .await
    }

    async fn read_labels(&mut self, labels: &Dataset) -> Result<(), Problem> {
        let mut class_of = vec![NO_CLASS; self.ids.len()];
        let mut classes = Classes::default();
        let mut cursor = 0;
        each_batch(labels, &[layout::ITEM_ID, layout::LABEL], |batch| {
            // In commit order: a later label supersedes an earlier one.
            for (id, label) in batch.column(0).as_string::<i32>().iter().zip(batch.column(1).as_string::<i32>()) {
                if let (Some(at), Some(label)) = (self.place(id, &mut cursor), label) {
                    class_of[at] = classes.number(label);
                }
            }
            Ok(())
        })
        .await?;
        (self.classes, self.class_of) = (classes, class_of);
        Ok(())
    }

    async fn read_splits(&mut self, splits: &Dataset) -> Result<(), Problem> {
        let mut split_of = vec![None; self.ids.len()];
        let mut cursor = 0;
        each_batch(splits, &[layout::ITEM_ID, layout::SPLIT], |batch| {
            for (id, split) in batch.column(0).as_string::<i32>().iter().zip(batch.column(1).as_string::<i32>()) {
                if let Some(at) = self.place(id, &mut cursor) {
                    split_of[at] = split.and_then(Split::parse);
                }
            }
            Ok(())
        })
        .await?;
        self.split_of = split_of;
        Ok(())
    }

    /// The position of an id that very likely follows the one before.
    fn place(&self, id: Option<&str>, cursor: &mut usize) -> Option<usize> {
        let id = id?.parse::<ItemId>().ok()?;
        let at = if self.ids.get(*cursor) == Some(&id) { *cursor } else { self.position(id)? };
        *cursor = at + 1;
        Some(at)
    }

    /// Where an item stands in the version.
    pub(crate) fn position(&self, id: ItemId) -> Option<usize> {
        match &self.by_id {
            None => self.ids.binary_search(&id).ok(),
            Some(order) => {
                let at = order.binary_search_by_key(&id, |it| self.ids[*it as usize]).ok()?;
                Some(order[at] as usize)
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, at: usize) -> ItemId {
        self.ids[at]
    }

    /// Size of a picture in bytes.
    pub(crate) fn size(&self, at: usize) -> u64 {
        self.sizes.get(at).copied().map_or(0, u64::from)
    }

    pub(crate) fn label(&self, at: usize) -> Option<&str> {
        self.class_of.get(at).and_then(|it| self.classes.name(*it))
    }

    pub(crate) fn split(&self, at: usize) -> Option<Split> {
        self.split_of.get(at).copied().flatten()
    }

    /// Whether items can be chosen by class.
    pub(crate) fn has_classes(&self) -> bool {
        !self.class_of.is_empty()
    }

    /// Positions with this class and split, rising. The empty class means "without a class".
    pub(crate) fn matching(&self, label: Option<&str>, split: Option<Split>) -> Vec<u32> {
        let class = match label {
            None => None,
            Some("") => Some(NO_CLASS),
            Some(name) => match self.classes.find(name) {
                Some(number) => Some(number),
                None => return Vec::new(),
            },
        };
        let fits = |at: usize| {
            class.is_none_or(|it| self.class_of.get(at).copied().unwrap_or(NO_CLASS) == it)
                && split.is_none_or(|it| self.split(at) == Some(it))
        };
        (0..self.ids.len()).filter(|at| fits(*at)).map(|at| at as u32).collect()
    }

    /// Items per class, most first, and the number of classes.
    pub(crate) fn class_counts(&self) -> (Vec<ClassCount>, u64) {
        let mut counts = vec![0u64; self.classes.len()];
        for class in self.class_of.iter().filter(|it| **it != NO_CLASS) {
            counts[*class as usize] += 1;
        }
        let named = counts.iter().enumerate().filter(|it| *it.1 > 0);
        let named = named.map(|(at, count)| (self.classes.name(at as u32).unwrap_or_default().to_owned(), *count));
        let mut counts = collect::counted(named);
        let total = counts.len() as u64;
        counts.truncate(Histogram::CLASSES_MAX);
        (counts, total)
    }

    pub(crate) fn split_counts(&self) -> Vec<SplitCount> {
        collect::split_counts(self.split_of.iter().copied())
    }

    pub(crate) fn histogram(&self) -> Histogram {
        let mut rows: HashMap<u32, HistogramRow> = HashMap::new();
        for at in 0..self.ids.len() {
            let class = self.class_of.get(at).copied().unwrap_or(NO_CLASS);
            let row = rows.entry(class).or_insert_with(|| HistogramRow {
                label: self.classes.name(class).map(str::to_owned),
                ..HistogramRow::default()
            });
            match self.split(at) {
                Some(Split::Train) => row.train += 1,
                Some(Split::Validation) => row.validation += 1,
                Some(Split::Test) => row.test += 1,
                None => row.none += 1,
            }
        }
        let classes_total = rows.keys().filter(|it| **it != NO_CLASS).count() as u64;
        let mut rows: Vec<_> = rows.into_values().collect();
        rows.sort_by(|one, other| other.total().cmp(&one.total()).then_with(|| one.label.cmp(&other.label)));
        rows.truncate(Histogram::CLASSES_MAX);
        Histogram { rows, classes_total }
    }
}

/// Reads columns of a whole table, row by row; they come in the table's order.
pub(crate) async fn each_batch(
    dataset: &Dataset,
    columns: &[&str],
    mut act: impl FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<(), Problem> {
    let failed = lance_errors::lance("read a dataset version");
    let mut scan = dataset.scan();
    let columns = columns_of(dataset, |it| columns.contains(&it));
    scan.project_with_schema(&columns).map_err(&failed)?.batch_size_bytes(16 << 20);
    let mut batches = scan.try_into_stream().await.map_err(&failed)?;
    while let Some(batch) = batches.try_next().await.map_err(&failed)? {
        act(&batch).map_err(lance_errors::arrow("read a dataset version"))?;
    }
    Ok(())
}

/// Targets of these types are classes when they have few values; numbers with a fraction never are.
pub(crate) fn can_be_class(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8)
}

fn is_class_type(items: &Dataset, column: &str) -> bool {
    items.schema().fields.iter().any(|it| it.name == column && can_be_class(&it.data_type()))
}

/// The longest text that is a class, in bytes.
const CLASS_BYTES_MAX: usize = 4096;

/// Numbers the values of a target, until there are too many for classes.
pub(crate) struct TargetClasses {
    active: bool,
    class_of: Vec<u32>,
}

impl TargetClasses {
    pub(crate) fn new(active: bool) -> Self {
        Self { active, class_of: Vec::new() }
    }

    pub(crate) fn add(&mut self, values: &dyn Array, classes: &mut Classes) -> Result<(), ArrowError> {
        if !self.active {
            return Ok(());
        }
        let texts = ArrayFormatter::try_new(values, &FormatOptions::default())?;
        let mut text = String::new();
        for row in 0..values.len() {
            if values.is_null(row) {
                self.class_of.push(NO_CLASS);
                continue;
            }
            text.clear();
            texts.value(row).write(&mut text).map_err(|_| ArrowError::ComputeError("cannot format a value".into()))?;
            if text.len() > CLASS_BYTES_MAX {
                // Remarks, not classes; ten thousand of them would fill the memory.
                *self = Self::new(false);
                return Ok(());
            }
            self.class_of.push(classes.number(&text));
        }
        if classes.len() > Histogram::CLASSES_MAX {
            *self = Self::new(false);
        }
        Ok(())
    }

    /// The class of every row; empty when there are no classes.
    pub(crate) fn finish(self) -> Vec<u32> {
        self.class_of
    }
}

/// The last versions read.
#[derive(Debug, Default)]
pub(crate) struct IndexCache {
    entries: Mutex<Vec<(VersionAt, Arc<VersionIndex>)>>,
}

/// How many versions are kept.
const CACHE_ENTRIES_MAX: usize = 16;
/// How many items the kept versions may hold together (about 100 MiB).
const CACHE_ITEMS_MAX: usize = 4_000_000;

impl IndexCache {
    /// The index of a version, read when it is not at hand.
    pub(crate) async fn get(&self, tables: &Tables, at: &VersionAt) -> Result<Arc<VersionIndex>, Problem> {
        if let Some(found) = self.find(at) {
            return Ok(found);
        }
        let index = Arc::new(VersionIndex::load(tables, at).await?);
        self.put(at.clone(), index.clone());
        Ok(index)
    }

    fn find(&self, at: &VersionAt) -> Option<Arc<VersionIndex>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let place = entries.iter().position(|it| it.0 == *at)?;
        let entry = entries.remove(place);
        let index = entry.1.clone();
        entries.push(entry);
        Some(index)
    }

    fn put(&self, at: VersionAt, index: Arc<VersionIndex>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|it| it.0 != at);
        entries.push((at, index));
        let items = |entries: &[(VersionAt, Arc<VersionIndex>)]| entries.iter().map(|it| it.1.len()).sum::<usize>();
        while entries.len() > 1 && (entries.len() > CACHE_ENTRIES_MAX || items(&entries) > CACHE_ITEMS_MAX) {
            entries.remove(0);
        }
    }

    /// Forgets a dataset whose versions were removed.
    pub(crate) fn forget(&self, dataset: kaogong_domain::ids::DatasetId) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).retain(|it| it.0.dataset != dataset);
    }
}
