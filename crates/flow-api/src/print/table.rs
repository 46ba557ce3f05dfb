//! Rows of cells, each column as wide as its widest cell and three spaces.

/// Rows so far.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    pub fn finish(self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |cell: &String| cell.chars().count() + GAP;
        let widths: Vec<usize> =
            (0..columns).map(|c| self.rows.iter().filter_map(|row| row.get(c)).map(width).max().unwrap_or(0)).collect();
        let mut out = String::new();
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                out.push_str(cell);
                // Nothing follows the last one.
                if index + 1 < row.len() {
                    out.extend(std::iter::repeat_n(' ', widths[index] - cell.chars().count()));
                }
            }
            out.push('\n');
        }
        out
    }
}

const GAP: usize = 3;
