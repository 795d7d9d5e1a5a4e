//! Tables of plain text: aligned columns, two spaces between them, no frames.

use std::fmt::Display;

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a head.
#[derive(Debug, Clone)]
pub struct Table {
    head: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. A name that begins with `>` is a column of numbers.
    pub fn new(columns: &[&str]) -> Self {
        let align = |name: &&str| if name.starts_with('>') { Align::Right } else { Align::Left };
        Self {
            head: columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect(),
            align: columns.iter().map(align).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[&dyn Display]) {
        self.rows.push(cells.iter().map(|cell| one_line(&cell.to_string())).collect());
    }

    /// Adds an empty row.
    pub fn gap(&mut self) {
        self.rows.push(Vec::new());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, with a bold head if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        let head = self.line(&self.head, &widths);
        if colour {
            text.push_str(&format!("\x1b[1m{head}\x1b[0m\n"));
        } else {
            text.push_str(&format!("{head}\n"));
        }
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), align) in cells.iter().zip(widths).zip(&self.align) {
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line.push_str(&format!("{cell}{pad}  ")),
                Align::Right => line.push_str(&format!("{pad}{cell}  ")),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Text from elsewhere must not break the table, nor move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["family", ">n", ">after"]);
        table.row(&[&"averages", &200, &"98.5"]);
        table.gap();
        table.row(&[&"größe", &7, &"1.0"]);
        let text = "family      n  after\naverages  200   98.5\n\ngröße       7    1.0\n";
        assert_eq!(table.render(false), text);
        assert!(table.render(true).starts_with("\u{1b}[1mfamily"));
    }

    #[test]
    fn foreign_text_stays_in_its_cell() {
        let mut table = Table::new(&["a"]);
        table.row(&[&"x\ny\u{1b}[2J"]);
        assert_eq!(table.render(false), "a\nx y [2J\n");
    }
}
