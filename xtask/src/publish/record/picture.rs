//! Pictures of a run's record: a page of its own, and what the summary of a step shows of it.

use super::ImageRecord;
use crate::model::{BuildResult, one_line};

/// The page, all but the record that it draws.
const PAGE: &str = include_str!("timings.html");

/// A page that draws a record, given as JSON: one file, which loads nothing.
pub(super) fn page(record: &str) -> String {
    // In a script, `</script>` and `<!--` count even within JSON, where `<` only stands in strings.
    PAGE.replace("{{record}}", &record.replace('<', "\\u003c"))
}

/// The longest diagram that GitHub draws, in characters.
const LONGEST_DIAGRAM: usize = 45_000;

/// A diagram in Mermaid of when each image was built; nothing where it would be too long to be drawn.
pub(super) fn gantt<'a>(title: &str, images: impl IntoIterator<Item = &'a ImageRecord>) -> String {
    let bars: Vec<String> = images.into_iter().filter_map(bar).collect();
    let head = format!("```mermaid\ngantt\n  title {}\n  dateFormat X\n  axisFormat %M:%S", without_mermaid(title));
    let text = format!("{head}\n{}\n```", bars.join("\n"));
    if bars.is_empty() || text.chars().count() > LONGEST_DIAGRAM { String::new() } else { text }
}

/// When an image was built, in seconds since the run began: a second at least, as no shorter bar is seen.
fn bar(image: &ImageRecord) -> Option<String> {
    let (start, end) = (image.start? / 1_000, image.end? / 1_000);
    let mark = if image.result == BuildResult::Built { "" } else { "crit, " };
    let name = without_mermaid(&image.shown());
    Some(format!("  {name} :{mark}{start}, {}", end.max(start + 1)))
}

/// A name without the characters that have a meaning in Mermaid.
fn without_mermaid(text: &str) -> String {
    text.replace([':', ';', '#', ','], " ")
}

/// How many lines of a log are shown.
const LAST_LINES: usize = 100;

/// The end of a log, folded under a line that says whose it is, in HTML: in Markdown, what a build prints would count.
pub(super) fn folded_log(image: &ImageRecord, log: &str) -> String {
    let escaped = |text: &str| one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let lines: Vec<String> = log.trim_end().lines().map(escaped).collect();
    let end = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    let title = escaped(&format!("{}: the end of {}", image.shown(), image.log.as_deref().unwrap_or_default()));
    format!("<details><summary>{title}</summary>\n\n<pre>\n{end}\n</pre>\n\n</details>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Arch;

    fn image(job: &str, result: BuildResult, times: Option<(u64, u64)>) -> ImageRecord {
        let (job, (start, end)) = (job.to_owned(), times.unzip());
        ImageRecord { job, start, end, ..ImageRecord::new(&"x".parse().unwrap(), Arch::Amd64, result, "") }
    }

    #[test]
    fn a_picture_of_time_is_drawn() {
        let images = [
            image("job-a", BuildResult::Built, Some((0, 1_500))),
            image("b;#:c", BuildResult::Failed, Some((1_000, 4_000))),
            image("unchanged", BuildResult::Unchanged, None),
        ];
        assert_eq!(
            gantt("leg: a", &images),
            "```mermaid\ngantt\n  title leg  a\n  dateFormat X\n  axisFormat %M:%S\n  job-a (amd64) :0, 1\n  \
             b   c (amd64) :crit, 1, 4\n```"
        );
        assert_eq!(gantt("x", &images[2..]), "");
        let long = image("a-long-name-of-a-job", BuildResult::Built, Some((0, 1)));
        assert_eq!(gantt("x", std::iter::repeat_n(&long, 2_000)), "");
    }

    #[test]
    fn what_a_build_prints_is_shown_as_it_is() {
        let mut image = image("a", BuildResult::Failed, None);
        image.log = Some("target/xtask/logs/a-amd64.log".to_owned());
        assert_eq!(
            folded_log(&image, "#1 </pre> & **x**\n\n\u{1b}[31mred\n"),
            "<details><summary>a (amd64): the end of target/xtask/logs/a-amd64.log</summary>\n\n<pre>\n#1 &lt;/pre&gt; \
             &amp; **x**\n\n\\u{1b}[31mred\n</pre>\n\n</details>\n"
        );
        let long = folded_log(&image, &"x\n".repeat(1_000));
        assert_eq!(long.lines().filter(|line| *line == "x").count(), LAST_LINES);
    }

    #[test]
    fn a_step_cannot_end_the_script_that_holds_it() {
        let page = page(r#"{"name":"RUN echo '</script><!--<script>'"}"#);
        assert!(page.contains(r#">{"name":"RUN echo '\u003c/script>\u003c!--\u003cscript>'"}</script>"#), "{page}");
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
    }
}
