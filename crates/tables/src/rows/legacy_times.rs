//! INT96, the times of old Parquet files: a day and the nanoseconds in it.
//!
//! A day may lie far outside what 64 bits of nanoseconds reach (1677 to 2262), and the reader would wrap such a time to
//! another date. So these columns are read once in seconds, which always fit; where nanoseconds are too narrow, the
//! column is kept in microseconds, and a time that even these cannot tell is refused.

use super::{parquet::broken, parts::Segment};
use arrow_array::{Array, RecordBatch, cast::AsArray, types::TimestampSecondType};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use kaogong_domain::Problem;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::Type,
};
use std::{collections::BTreeSet, sync::Arc};

/// Seconds since 1970 that nanoseconds reach.
const NANOS_MAX: i64 = i64::MAX / 1_000_000_000 - 1;
/// Seconds since 1970 that a calendar reaches, 260,000 years; microseconds reach a little further.
const CALENDAR_MAX: i64 = 260_000 * 31_556_952;

/// The reader's view of a file, with types that hold its times; and the columns that became wider for it.
pub(super) fn settled(
    file: &Segment,
    told: ArrowReaderMetadata,
) -> Result<(ArrowReaderMetadata, BTreeSet<usize>), Problem> {
    let leaves = told.parquet_schema().columns().iter().enumerate();
    let roots: BTreeSet<usize> = leaves
        .filter(|it| it.1.physical_type() == Type::INT96)
        .map(|it| told.parquet_schema().get_column_root_idx(it.0))
        .collect();
    if roots.is_empty() {
        return Ok((told, roots));
    }
    let reach = reach(file, &told, &roots)?;
    let mut wide = BTreeSet::new();
    for (root, seconds) in &reach {
        if *seconds > CALENDAR_MAX as u64 {
            let name = told.schema().field(*root).name();
            return Err(Problem::invalid(format!("column `{name}` holds a time beyond the year 260000"))
                .hint("the file is damaged, or was written by a program with another calendar"));
        }
        if *seconds > NANOS_MAX as u64 {
            wide.insert(*root);
        }
    }
    let unit = |root: usize| if wide.contains(&root) { TimeUnit::Microsecond } else { TimeUnit::Nanosecond };
    let schema = with_units(told.schema(), &roots, unit);
    Ok((again(&told, schema)?, wide))
}

/// How far from 1970 the times of each column reach, in seconds.
fn reach(file: &Segment, told: &ArrowReaderMetadata, roots: &BTreeSet<usize>) -> Result<Vec<(usize, u64)>, Problem> {
    let seconds = again(told, with_units(told.schema(), roots, |_| TimeUnit::Second))?;
    let mask = ProjectionMask::roots(told.parquet_schema(), roots.iter().copied());
    let reader =
        ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), seconds).with_projection(mask).build();
    let mut reach: Vec<_> = roots.iter().map(|it| (*it, 0)).collect();
    for batch in reader.map_err(|it| broken(&it))? {
        let batch: RecordBatch = batch.map_err(|it| broken(&it))?;
        for (reach, column) in reach.iter_mut().zip(batch.columns()) {
            reach.1 = reach.1.max(farthest(column.as_ref()));
        }
    }
    Ok(reach)
}

/// The greatest distance from 1970 of any time in a column, also within lists and structs.
fn farthest(values: &dyn Array) -> u64 {
    match values.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            let times = values.as_primitive::<TimestampSecondType>();
            times.iter().flatten().map(i64::unsigned_abs).max().unwrap_or(0)
        }
        DataType::List(_) => farthest(values.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => farthest(values.as_list::<i64>().values().as_ref()),
        DataType::Struct(_) => values.as_struct().columns().iter().map(|it| farthest(it.as_ref())).max().unwrap_or(0),
        DataType::Map(..) => farthest(values.as_map().entries()),
        _ => 0,
    }
}

fn again(told: &ArrowReaderMetadata, schema: SchemaRef) -> Result<ArrowReaderMetadata, Problem> {
    let options = ArrowReaderOptions::new().with_schema(schema);
    ArrowReaderMetadata::try_new(told.metadata().clone(), options).map_err(|it| broken(&it))
}

fn with_units(schema: &Schema, roots: &BTreeSet<usize>, unit: impl Fn(usize) -> TimeUnit) -> SchemaRef {
    let fields = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| if roots.contains(&at) { Arc::new(with_unit(field, unit(at))) } else { field.clone() });
    Arc::new(Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone()))
}

fn with_unit(field: &Field, unit: TimeUnit) -> Field {
    let inner = |it: &Arc<Field>| Arc::new(with_unit(it, unit));
    let data_type = match field.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(unit, zone.clone()),
        DataType::List(it) => DataType::List(inner(it)),
        DataType::LargeList(it) => DataType::LargeList(inner(it)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(it, sorted) => DataType::Map(inner(it), *sorted),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}
