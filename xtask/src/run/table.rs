//! Tables: for a terminal, which fit its width by breaking cells, and in Markdown.

use super::context::Context;
use crate::model::one_line;

/// The columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// The narrowest terminal that a table is fitted to.
const NARROWEST: usize = 40;
/// How wide a column stays whose words are broken, if others can give way.
const BROKEN: usize = 12;
/// How far the further lines of a name are indented, so that they do not look like rows.
const INDENT: usize = 2;
/// A word that is longer than its column is broken after one of these if it can be.
const BREAKS: [char; 5] = ['/', '@', ':', '-', '.'];

/// Rows under headings, no wider than the terminal. Cells are broken between words; a word is broken only if the table
/// does not fit otherwise.
pub fn table(ctx: &Context, headings: &[&str], rows: &[Vec<String>]) -> String {
    let columns = ctx.env.get("COLUMNS").and_then(|columns| columns.parse().ok());
    fitted(columns.unwrap_or(COLUMNS).max(NARROWEST), headings, rows)
}

fn fitted(columns: usize, headings: &[&str], rows: &[Vec<String>]) -> String {
    let plain = |row: &Vec<String>| row.iter().map(|cell| one_line(cell)).collect();
    let mut cells: Vec<Vec<String>> = vec![headings.iter().map(ToString::to_string).collect()];
    cells.extend(rows.iter().map(plain));
    // The first column with a heading names the rows.
    let names = headings.iter().position(|heading| !heading.is_empty());
    let indents: Vec<usize> = (0..headings.len()).map(|at| if names == Some(at) { INDENT } else { 0 }).collect();
    let widths = widths(columns, &cells, &indents);
    let lines = |row: &Vec<String>| {
        let columns = row.iter().zip(widths.iter().zip(&indents));
        columns.map(|(cell, (width, indent))| lines(cell, *width, *indent)).collect()
    };
    let broken: Vec<Vec<Vec<String>>> = cells.iter().map(lines).collect();
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

/// How wide the columns become: the widest give way first, down to their longest words. Where these do not fit, the
/// longest of them are broken.
fn widths(columns: usize, rows: &[Vec<String>], indents: &[usize]) -> Vec<usize> {
    let widest = |of: &dyn Fn(&str) -> usize, at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| of(cell)).max().unwrap_or_default()
    };
    let word = |cell: &str| cell.split(' ').map(length).max().unwrap_or_default();
    let word_below = |cell: &str| word(cell) + if cell.contains(' ') { INDENT } else { 0 };
    let least = |at: usize| widest(if indents[at] > 0 { &word_below } else { &word }, at);
    let mut least: Vec<usize> = (0..indents.len()).map(least).collect();
    let is_too_wide = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1) > columns;
    while is_too_wide(&least) {
        let Some(longest) = least.iter_mut().max().filter(|longest| **longest > BROKEN) else { break };
        *longest = BROKEN;
    }
    let mut widths: Vec<usize> = (0..indents.len()).map(|at| widest(&length, at)).collect();
    while is_too_wide(&widths) {
        let may_give_way = (0..widths.len()).filter(|&at| widths[at] > INDENT + 1);
        let Some(at) = may_give_way.max_by_key(|&at| (widths[at] > least[at], widths[at])) else { break };
        widths[at] -= 1;
    }
    widths
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The lines of a cell that is so wide, all but the first of them indented.
fn lines(cell: &str, width: usize, indent: usize) -> Vec<String> {
    if length(cell) <= width {
        return vec![cell.to_owned()];
    }
    let (mut lines, room): (Vec<String>, usize) = (Vec::new(), width - indent);
    for word in cell.split(' ') {
        let mut gap = " ";
        for part in parts(word, room) {
            match lines.last_mut().filter(|line| length(line) + gap.len() + length(&part) <= room) {
                Some(line) => *line = format!("{line}{gap}{part}"),
                None => lines.push(part),
            }
            gap = "";
        }
    }
    lines.iter_mut().skip(1).for_each(|line| line.insert_str(0, &" ".repeat(indent)));
    lines
}

/// The parts of a word that stay whole, none longer than this.
fn parts(word: &str, longest: usize) -> Vec<String> {
    if length(word) <= longest {
        return vec![word.to_owned()];
    }
    let mut parts = Vec::new();
    for part in word.split_inclusive(BREAKS) {
        let letters: Vec<char> = part.chars().collect();
        parts.extend(letters.chunks(longest).map(|part| part.iter().collect::<String>()));
    }
    parts
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
        .assert_eq(&fitted(43, &["JOB", "BUILDS", "REASON"], &long));
    }

    #[test]
    fn a_word_that_no_column_can_hold_is_broken_and_what_goes_on_below_a_name_is_indented() {
        let digest = "sha256:827edb472f367780aed84dddf51d27a9ef7e06b9363ee421fc986d2453b57ca3";
        let base = format!("base registry.example.com/mirrors/library/python:3.14.6-alpine@{digest}");
        let reason = format!("{base} moved");
        let (name, letters) = ("the-job-with-the-longest-name-of-all-of-them", "x".repeat(100));
        let chain = ["", "WHAT", "NOW", "AT 3f2a9c1"];
        let changed: [&[&str]; 2] =
            [&["changed", &base, "not committed", "827edb472f36"], &["", "jobs/a/Dockerfile", "3f2a9c1", ""]];
        let cases = [
            (
                80,
                &chain[..],
                rows(changed),
                expect![[r#"
                             WHAT                                        NOW            AT 3f2a9c1
                    changed  base registry.example.com/mirrors/          not committed  827edb472f36
                               library/python:3.14.6-alpine@sha256:
                               827edb472f367780aed84dddf51d27a9ef7e06b9
                               363ee421fc986d2453b57ca3
                             jobs/a/Dockerfile                           3f2a9c1"#]],
            ),
            (
                80,
                &["JOB", "PLAN", "REASON"][..],
                rows([&[name, "build", &reason]]),
                expect![[r#"
                    JOB                                           PLAN   REASON
                    the-job-with-the-longest-name-of-all-of-them  build  base registry.example.com/
                                                                         mirrors/library/python:3.
                                                                         14.6-alpine@sha256:
                                                                         827edb472f367780aed84dddf51
                                                                         d27a9ef7e06b9363ee421fc986d
                                                                         2453b57ca3 moved"#]],
            ),
            (
                40,
                &["JOB", "REASON"][..],
                rows([&[name, &letters], &["x", "-"]]),
                expect![[r#"
                JOB                 REASON
                the-job-with-the-   xxxxxxxxxxxxxxxxxxx
                  longest-name-of-  xxxxxxxxxxxxxxxxxxx
                  all-of-them       xxxxxxxxxxxxxxxxxxx
                                    xxxxxxxxxxxxxxxxxxx
                                    xxxxxxxxxxxxxxxxxxx
                                    xxxxx
                x                   -"#]],
            ),
        ];
        let sorted = |text: String| {
            let mut letters: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
            letters.sort_unstable();
            letters
        };
        for (columns, headings, rows, expected) in cases {
            expected.assert_eq(&fitted(columns, headings, &rows));
            for columns in NARROWEST..200 {
                let shown = fitted(columns, headings, &rows);
                assert!(shown.lines().all(|line| length(line) <= columns), "{columns} columns:\n{shown}");
                assert_eq!(sorted(shown), sorted(headings.concat() + &rows.concat().concat()), "{columns} columns");
            }
        }
    }
}
