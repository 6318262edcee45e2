//! The examples of the documents: what stands there between fences.

use crate::harness::root;

/// The documents whose examples are run. A drawing is none.
pub const DOCUMENTS: [&str; 2] = ["README.md", "jobs/README.md"];

/// An example, by where it stands.
#[derive(Debug)]
pub struct Example {
    /// The heading that it stands under.
    pub section: String,
    /// How many stand before it under that heading.
    pub number: usize,
    pub text: String,
}

/// The examples of a document, in their order.
pub fn examples(document: &str) -> Vec<Example> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut found: Vec<Example> = Vec::new();
    let (mut section, mut number) = (String::new(), 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            if language != "mermaid" {
                found.push(Example { section: section.clone(), number, text });
                number += 1;
            }
        } else if line.starts_with('#') {
            (section, number) = (line.trim_start_matches(['#', ' ']).to_owned(), 0);
        }
    }
    found
}

/// One of them.
#[track_caller]
pub fn example(document: &str, section: &str, number: usize) -> String {
    let found = examples(document).into_iter().find(|it| it.section == section && it.number == number);
    found.unwrap_or_else(|| panic!("{document} has no example {number} under `{section}`")).text
}
