//! Tables that fit the terminal.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

/// A table that breaks its lines where the terminal ends; elsewhere after [`WIDTH`] columns.
pub fn fitted(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(header);
    table
}

/// Columns where nobody says how many there are.
const WIDTH: u16 = 140;

/// Without blanks at the end of lines.
pub fn text(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
