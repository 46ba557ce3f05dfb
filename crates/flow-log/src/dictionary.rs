//! Which rows of a text column fit, judged by its dictionary: a text is looked at once, and not once per row. A column that
//! has none of the wanted texts is left after its dictionary.
//!
//! Encodings: Parquet's `Encodings.md`, "Plain", "Dictionary Encoding" and "Run Length Encoding / Bit-Packing Hybrid".

use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;
use prost::encoding::decode_varint;

/// Takes out of `rows` where the text does not fit.
pub fn hold(
    group: &dyn RowGroupReader,
    column: usize,
    fits: impl Fn(&[u8]) -> bool,
    rows: &mut [bool],
) -> Result<(), ParquetError> {
    let wrong = || ParquetError::General(format!("column {column} can't be read"));
    let mut pages = group.get_column_page_reader(column)?;
    let mut dictionary = Vec::new();
    // Where a dictionary became too large, the writer went on without.
    let data_pages = group.metadata().column(column).page_encoding_stats_mask();
    let is_by_dictionary = data_pages.is_some_and(|encodings| {
        encodings.is_only(Encoding::RLE_DICTIONARY) || encodings.is_only(Encoding::PLAIN_DICTIONARY)
    });
    let mut at = 0;
    while let Some(page) = pages.get_next_page()? {
        match page {
            Page::DictionaryPage { buf, .. } => {
                dictionary = texts(&buf).map(|text| text.map(&fits)).collect::<Option<_>>().ok_or_else(wrong)?;
                if is_by_dictionary && !dictionary.contains(&true) {
                    rows.fill(false);
                    return Ok(());
                }
            }
            Page::DataPage { buf, num_values, encoding, .. } => {
                let part = rows.get_mut(at..at + num_values as usize).ok_or_else(wrong)?;
                match encoding {
                    Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => indices(&buf, &dictionary, part),
                    Encoding::PLAIN => plain(&buf, &fits, part),
                    _ => None,
                }
                .ok_or_else(wrong)?;
                at += num_values as usize;
            }
            Page::DataPageV2 { .. } => return Err(wrong()),
        }
    }
    (at == rows.len()).then_some(()).ok_or_else(wrong)
}

/// Length (u32, little-endian) and bytes, one after the other; the last is `None` if they end in the middle.
fn texts(mut bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        let (length, rest) = match bytes.split_first_chunk::<4>() {
            Some(split) => split,
            None if bytes.is_empty() => return None,
            None => return Some(std::mem::take(&mut bytes).get(4..)),
        };
        let text = rest.split_at_checked(u32::from_le_bytes(*length) as usize);
        bytes = text.map_or(&[], |(_, rest)| rest);
        Some(text.map(|(text, _)| text))
    })
}

fn plain(bytes: &[u8], fits: impl Fn(&[u8]) -> bool, rows: &mut [bool]) -> Option<()> {
    let mut texts = texts(bytes);
    rows.iter_mut().try_for_each(|row| {
        *row &= fits(texts.next()??);
        Some(())
    })
}

/// Numbers of texts: their width in bits, then runs. A run of one number is its length times two and the number; one of
/// many is their eighth part times two plus one, and the numbers, bit by bit.
fn indices(bytes: &[u8], fits: &[bool], mut rows: &mut [bool]) -> Option<()> {
    let (width, mut bytes) = bytes.split_first()?;
    let width = u32::from(*width);
    if width > 32 {
        return None;
    }
    while !rows.is_empty() {
        let run = decode_varint(&mut bytes).ok()?;
        let length = usize::try_from(run >> 1).ok()?;
        if run & 1 == 0 {
            let (number, rest) = bytes.split_at_checked(width.div_ceil(8) as usize)?;
            let number = number.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
            let (these, others) = rows.split_at_mut(length.min(rows.len()));
            let is_fit = *fits.get(number)?;
            these.iter_mut().for_each(|row| *row &= is_fit);
            (bytes, rows) = (rest, others);
        } else {
            let (packed, rest) = bytes.split_at_checked(length.checked_mul(width as usize)?)?;
            let (these, others) = rows.split_at_mut(length.checked_mul(8)?.min(rows.len()));
            unpack(packed, width, fits, these)?;
            (bytes, rows) = (rest, others);
        }
        if length == 0 {
            return None;
        }
    }
    Some(())
}

fn unpack(packed: &[u8], width: u32, fits: &[bool], rows: &mut [bool]) -> Option<()> {
    let mask = (1_u64 << width) - 1;
    let (mut held, mut bits, mut bytes) = (0_u64, 0, packed.iter());
    for row in rows {
        while bits < width {
            held |= u64::from(*bytes.next()?) << bits;
            bits += 8;
        }
        *row &= *fits.get((held & mask) as usize)?;
        held >>= width;
        bits -= width;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(bytes: &[u8], fits: &[bool], rows: usize) -> Option<Vec<bool>> {
        let mut held = vec![true; rows];
        indices(bytes, fits, &mut held).map(|()| held)
    }

    #[test]
    fn runs_and_packed_numbers_are_read_as_the_format_says() {
        // Three times 2; then eight numbers of three bits, 0 to 7 as in the format's own example.
        let bytes = [3, 3 << 1, 2, 1 << 1 | 1, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let odd = [false, true, false, true, false, true, false, true];
        let expected = [vec![false; 3], odd.into()].concat();
        assert_eq!(held(&bytes, &odd, 11), Some(expected));
        // The last group is filled up; what is too much is not read.
        assert_eq!(held(&bytes, &odd, 4), Some(vec![false; 4]));
        // With one text, numbers have no bits.
        assert_eq!(held(&[0, 5 << 1], &[true], 5), Some(vec![true; 5]));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for bytes in [
            &[][..],
            &[33, 2, 0],
            &[3],
            &[3, 6],
            &[3, 3, 1],
            &[3, 0, 0],
            &[3, 6, 9],
            &[32, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(held(bytes, &[true; 4], 3), None, "{bytes:?}");
        }
        let mut rows = vec![true; 2];
        assert_eq!(plain(&[1, 0, 0, 0, b'a'], |_| true, &mut rows), None);
        assert_eq!(plain(&[9, 0, 0, 0, b'a'], |_| true, &mut rows[..1]), None);
        assert_eq!(plain(&[1, 0, 0], |_| true, &mut rows[..1]), None);
    }

    #[test]
    fn texts_without_a_dictionary_are_looked_at_one_by_one() {
        let mut rows = vec![true, true, false];
        let bytes = [1, 0, 0, 0, b'a', 0, 0, 0, 0, 1, 0, 0, 0, b'a'];
        assert_eq!(plain(&bytes, |text| text == b"a", &mut rows), Some(()));
        assert_eq!(rows, [true, false, false]);
    }
}
