//! Tables with one line per row, for commands that print findings.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// An empty table.
pub fn grid(header: &[impl ToString]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(ToString::to_string).collect::<Vec<_>>());
    table
}

/// Aligns `count` columns from `first` on to the right.
pub fn align(table: &mut Table, from: usize, count: usize) {
    for column in table.column_iter_mut().skip(from).take(count) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
