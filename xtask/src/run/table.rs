//! Tables: for a terminal, which fit its width by breaking cells between words, and in Markdown.

use super::context::Context;
use crate::model::one_line;

/// The columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// The narrowest terminal that a table is fitted to.
const NARROWEST: usize = 40;

/// Rows under headings, no wider than the terminal as far as that needs no word to be cut: names stay whole.
pub fn table(ctx: &Context, headings: &[&str], rows: &[Vec<String>]) -> String {
    let columns = ctx.env.get("COLUMNS").and_then(|columns| columns.parse().ok());
    fitted(columns.unwrap_or(COLUMNS).max(NARROWEST), headings, rows)
}

fn fitted(columns: usize, headings: &[&str], rows: &[Vec<String>]) -> String {
    let plain = |row: &Vec<String>| row.iter().map(|cell| one_line(cell)).collect();
    let mut cells: Vec<Vec<String>> = vec![headings.iter().map(ToString::to_string).collect()];
    cells.extend(rows.iter().map(plain));
    let widths = widths(columns, &cells);
    let broken: Vec<Vec<Vec<String>>> =
        cells.iter().map(|row| row.iter().zip(&widths).map(|(cell, width)| lines(cell, *width)).collect()).collect();
    // Between words, a column may have become narrower than it had to.
    let column = |at: usize| broken.iter().filter_map(move |row| row.get(at)).flatten().map(|line| length(line));
    let widths: Vec<usize> = (0..headings.len()).map(|at| column(at).max().unwrap_or_default()).collect();
    let mut out = Vec::new();
    for row in &broken {
        for number in 0..row.iter().map(Vec::len).max().unwrap_or_default() {
            let cell =
                |(cell, width): (&Vec<String>, &usize)| format!("{:width$}", cell.get(number).map_or("", |line| line));
            let cells: Vec<String> = row.iter().zip(&widths).map(cell).collect();
            out.push(cells.join("  ").trim_end().to_owned());
        }
    }
    out.join("\n")
}

/// How wide the columns become: the widest give way first, none below its longest word.
fn widths(columns: usize, rows: &[Vec<String>]) -> Vec<usize> {
    let widest =
        |of: fn(&str) -> usize, at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| of(cell)).max();
    let count = rows.first().map_or(0, Vec::len);
    let word = |cell: &str| cell.split(' ').map(length).max().unwrap_or_default();
    let least: Vec<usize> = (0..count).map(|at| widest(word, at).unwrap_or_default()).collect();
    let mut widths: Vec<usize> = (0..count).map(|at| widest(length, at).unwrap_or_default()).collect();
    while widths.iter().sum::<usize>() + 2 * count.saturating_sub(1) > columns {
        let gives_way = (0..count).filter(|&at| widths[at] > least[at]).max_by_key(|&at| widths[at]);
        let Some(at) = gives_way else { break };
        widths[at] -= 1;
    }
    widths
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The lines of a cell that is so wide.
fn lines(cell: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in cell.split(' ') {
        match lines.last_mut().filter(|line| length(line) + 1 + length(word) <= width) {
            Some(line) => *line = format!("{line} {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The same as a table in Markdown.
pub fn markdown(headings: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |", cells.collect::<Vec<_>>().join(" | "));
    let plain = |cell: &String| one_line(cell).replace('|', "\\|");
    let mut lines = vec![line(&mut headings.iter().map(ToString::to_string))];
    lines.push(line(&mut headings.iter().map(|_| "---".to_owned())));
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(plain))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn rows<const N: usize>(rows: [&[&str]; N]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| cell.to_string()).collect()).collect()
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        assert_eq!(
            fitted(80, &["job", "what"], &rows([&["job-a", "x"], &["b", "yy"]])),
            "job    what\njob-a  x\nb      yy"
        );
        assert_eq!(fitted(80, &["job", "what"], &[]), "job  what");
    }

    #[test]
    fn a_cell_is_broken_between_words_and_no_name_is_cut() {
        let long = rows([
            &["report-of-the-day", "amd64 arm64", "jobs/lib/util.sh and 3 more changed since 3f2a9c1"],
            &["b", "-", "never built"],
        ]);
        expect![[r#"
            JOB                BUILDS       REASON
            report-of-the-day  amd64 arm64  jobs/lib/util.sh and 3 more
                                            changed since 3f2a9c1
            b                  -            never built"#]]
        .assert_eq(&fitted(60, &["JOB", "BUILDS", "REASON"], &long));
        expect![[r#"
            JOB                BUILDS  REASON
            report-of-the-day  amd64   jobs/lib/util.sh
                               arm64   and 3 more
                                       changed since
                                       3f2a9c1
            b                  -       never built"#]]
        .assert_eq(&fitted(40, &["JOB", "BUILDS", "REASON"], &long));
        // What cannot be broken is wider.
        expect![[r#"
            JOB  REASON
            x    wordwordwordwordwordwordwordwordwordwordwordword"#]]
        .assert_eq(&fitted(40, &["JOB", "REASON"], &rows([&["x", &"word".repeat(12)]])));
    }
}
