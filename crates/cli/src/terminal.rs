//! What people see: text, tables, colours. Colours only on a terminal that wants them.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::Outcome;

/// Standard output. Colours are taken out where they are not wanted (no terminal, `NO_COLOR`).
pub(crate) struct Terminal {
    out: anstream::Stdout,
    /// Whether it is no matter that nobody reads.
    unheard: bool,
}

/// Emphasis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Headings and names.
    Strong,
    /// Less important.
    Faint,
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Wrong.
    Bad,
}

/// A piece of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Terminal {
    /// Standard output of this process.
    pub(crate) fn stdout() -> Self {
        Self {
            out: anstream::stdout(),
            unheard: false,
        }
    }

    /// Whether somebody is looking at it.
    pub(crate) fn is_interactive() -> bool {
        io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// From here on lines and JSON fail no more when nobody reads: something must be done all the same.
    pub(crate) fn may_be_unheard(&mut self) {
        self.unheard = true;
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Outcome {
        let written = writeln!(self.out, "{}", text.as_ref());
        self.heard(written)
    }

    fn heard(&self, written: io::Result<()>) -> Outcome {
        match written {
            Err(_) if self.unheard => Ok(()),
            written => Ok(written?),
        }
    }

    /// Writes without a line end and shows it at once.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn raw(&mut self, text: &str) -> Outcome {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }

    /// Writes JSON for programs.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Outcome {
        let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::from)?;
        text.push(b'\n');
        let written = self.out.write_all(&text);
        self.heard(written)
    }

    /// Writes a table with a heading; nothing but the heading if there are no rows.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn table(&mut self, heading: &[&str], rows: &[Vec<Cell>]) -> Outcome {
        for line in table(heading, rows) {
            self.line(line)?;
        }
        Ok(())
    }
}

/// Writes a line to standard error; when nobody reads there, nobody misses it.
pub(crate) fn complain(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

impl Tone {
    /// `text` in this tone.
    pub(crate) fn paint(self, text: &str) -> String {
        let style = match self {
            Self::Plain => return text.to_owned(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Busy => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

impl Cell {
    /// A cell with emphasis.
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Columns two blanks apart, each as wide as its widest cell; the last one is not padded.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>]) -> Vec<String> {
    let width_of = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.text.chars().count());
        cells
            .chain([heading.get(column).map_or(0, |text| text.len())])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width_of).collect();
    let heading: Vec<Cell> = heading.iter().map(|text| Cell::new(*text, Tone::Faint)).collect();
    std::iter::once(&heading)
        .chain(rows)
        .map(|row| table_line(row, &widths))
        .collect()
}

fn table_line(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, cell) in row.iter().enumerate() {
        line.push_str(&cell.tone.paint(&cell.text));
        if column + 1 < row.len() {
            let width = widths.get(column).copied().unwrap_or(0);
            line.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.text.chars().count()) + 2,
            ));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = vec![
            vec![Cell::new("a", Tone::Good), "1".into()],
            vec!["long".into(), "2".into()],
        ];
        let plain: Vec<_> = table(&["NAME", "N"], &rows)
            .into_iter()
            .map(|line| anstream::adapter::strip_str(&line).to_string())
            .collect();
        assert_eq!(plain, ["NAME  N", "a     1", "long  2"]);
    }
}
