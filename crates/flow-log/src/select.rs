//! Which rows of a segment a plan lets through, read off its bloom filters and columns.

use crate::columns::place;
use crate::dictionary;
use crate::plan::{Condition, Plan, Values, Want};
use crate::query::Query;
use crate::segment::Segment;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;

/// Numbers of the rows, in order.
pub fn rows(
    segment: &Segment,
    group: &dyn RowGroupReader,
    plan: &Plan,
    query: &Query,
) -> Result<Vec<u32>, ParquetError> {
    let may = |condition: &Condition| condition.iter().any(|term| term.iter().all(|want| may_hold(group, want)));
    if !segment.has_losses && !plan.0.iter().all(may) {
        return Ok(Vec::new());
    }
    let rows = segment.rows as usize;
    let mut chosen = vec![true; rows];
    for condition in &plan.0 {
        let mut one = vec![false; rows];
        for term in condition {
            let mut all = vec![true; rows];
            for want in term {
                hold(group, want, &mut all)?;
            }
            one.iter_mut().zip(all).for_each(|(one, all)| *one |= all);
        }
        chosen.iter_mut().zip(one).for_each(|(chosen, one)| *chosen &= one);
    }
    if segment.has_losses {
        let mut at = 0;
        each::<Int64Type>(group, place::LOST, |lost| {
            chosen[at] |= *lost > 0;
            at += 1;
        })?;
    }
    if !query.is_in_time(segment.span.first) || !query.is_in_time(segment.span.last) {
        let mut at = 0;
        each::<Int64Type>(group, place::TIME, |time| {
            chosen[at] &= query.is_in_time(*time);
            at += 1;
        })?;
    }
    Ok(chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(row, _)| row as u32).collect())
}

/// `false`: none of the values is in the column.
fn may_hold(group: &dyn RowGroupReader, want: &Want) -> bool {
    let Some(bloom) = group.get_column_bloom_filter(want.column) else { return true };
    match &want.values {
        Values::Numbers(numbers) => numbers.iter().any(|number| bloom.check(number)),
        Values::Texts(texts) => texts.iter().any(|text| bloom.check(text)),
        Values::Beginnings(_) => true,
    }
}

/// Takes out of `rows` where the want does not hold.
fn hold(group: &dyn RowGroupReader, want: &Want, rows: &mut [bool]) -> Result<(), ParquetError> {
    match &want.values {
        Values::Numbers(numbers) => {
            let mut at = 0;
            each::<Int32Type>(group, want.column, |number| {
                rows[at] &= numbers.contains(number);
                at += 1;
            })
        }
        Values::Texts(_) | Values::Beginnings(_) => {
            dictionary::hold(group, want.column, |text| want.values.has_text(text), rows)
        }
    }
}

/// Every value of a column, as many as the row group says that there are.
fn each<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    mut tell: impl FnMut(&T::T),
) -> Result<(), ParquetError> {
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column)?);
    let mut left = usize::try_from(group.metadata().num_rows())?;
    let mut values = Vec::with_capacity(AT_ONCE);
    while left > 0 {
        values.clear();
        let (read, _, _) = reader.read_records(AT_ONCE.min(left), None, None, &mut values)?;
        if read == 0 || read != values.len() {
            return Err(ParquetError::General(format!("column {column} ends {left} rows early")));
        }
        values.iter().for_each(&mut tell);
        left -= read;
    }
    Ok(())
}

/// Values that are held in memory at once.
const AT_ONCE: usize = 4096;
