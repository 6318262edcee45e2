//! The workflow whose signatures count: its file in one repository, on some git refs.

use super::pattern::PathPattern;
use super::problem::Problem;

/// The workflow that publishes, in every repository that uses this tool.
const WORKFLOW: &str = ".github/workflows/images.yml";

/// Who may sign a target's indexes: the workflow of one repository on GitHub, on the target's refs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedWorkflow {
    /// `acme/jobs`.
    pub repository: String,
    /// Patterns of git refs.
    refs: Vec<String>,
}

impl TrustedWorkflow {
    /// The workflow of a target by where its source is, such as `https://github.com/acme/jobs`, and by its refs.
    ///
    /// # Errors
    /// The source is not on GitHub, or the target has no refs.
    pub fn new(source: Option<&str>, refs: &[String]) -> Result<TrustedWorkflow, Problem> {
        let problem = |what: &str| Problem::new("trusted workflow", what);
        let Some(repository) = source.and_then(|source| source.strip_prefix("https://github.com/")) else {
            let problem = problem("this repository has no remote `origin` on github.com");
            return Err(problem.rule("signatures count only if this repository's own workflow made them"));
        };
        if refs.is_empty() {
            let problem = problem("no target in Cargo.toml says on which `refs` it may sign");
            return Err(problem.help("give the target its `refs`, or name one with --target"));
        }
        Ok(TrustedWorkflow { repository: repository.to_owned(), refs: refs.to_vec() })
    }

    /// The regular expression that a certificate's identity has to match, for Go and anchored at both ends.
    /// GitHub takes names of owners and repositories in any case.
    pub fn regexp(&self) -> String {
        let refs: Vec<String> = self.refs.iter().map(|pattern| regexp_of_glob(pattern)).collect();
        let (repository, workflow) = (escaped(&self.repository), escaped(WORKFLOW));
        format!(r"^https://github\.com/(?i:{repository})/{workflow}@(?:{})$", refs.join("|"))
    }

    /// Checks that it is the workflow that runs here, as `GITHUB_WORKFLOW_REF` names it. Elsewhere nothing is known.
    ///
    /// # Errors
    /// What is signed here would be refused.
    pub fn check(&self, workflow: Option<&str>) -> Result<(), Problem> {
        let Some(workflow) = workflow else { return Ok(()) };
        let (path, git_ref) = workflow.split_once('@').unwrap_or((workflow, ""));
        let own = format!("{}/{WORKFLOW}", self.repository);
        if path.eq_ignore_ascii_case(&own) && self.refs.iter().any(|pattern| matches_ref(pattern, git_ref)) {
            return Ok(());
        }
        let rule = format!("only {own} signs, on {}", self.refs.join(" or "));
        Err(Problem::new(format!("workflow `{workflow}`"), "may not sign for this target").rule(rule))
    }
}

/// Whether a git ref matches a pattern; `*` does not cross a `/`.
pub fn matches_ref(pattern: &str, git_ref: &str) -> bool {
    let names: Vec<&str> = git_ref.split('/').collect();
    PathPattern::new(pattern).is_ok_and(|pattern| pattern.matches(&names))
}

/// A pattern of [`matches_ref`] as a regular expression.
fn regexp_of_glob(pattern: &str) -> String {
    let (mut out, mut rest) = (String::new(), pattern);
    while let Some(c) = rest.chars().next() {
        let class = rest.strip_prefix('[').and_then(class);
        let (length, text) = match c {
            '[' if class.is_some() => class.unwrap_or_default(),
            '*' if rest.starts_with("**/") => (3, "(?:.*/)?".to_owned()),
            '*' if rest.starts_with("**") => (2, ".*".to_owned()),
            '*' => (1, "[^/]*".to_owned()),
            '?' => (1, "[^/]".to_owned()),
            c => (c.len_utf8(), escaped(&rest[..c.len_utf8()])),
        };
        out.push_str(&text);
        rest = &rest[length..];
    }
    out
}

/// A class of characters after its `[`: how long it is in the pattern, and what it is in a regular expression.
fn class(rest: &str) -> Option<(usize, String)> {
    let (negation, members) = rest.strip_prefix('!').map_or(("", rest), |members| ("^/", members));
    // A `]` that comes first is a member.
    let end = 1 + members.get(1..)?.find(']')?;
    let escaped: String = members[..end].chars().flat_map(|c| escape_in_class(c).into_iter().chain([c])).collect();
    Some((rest.len() - members.len() + end + 2, format!("[{negation}{escaped}]")))
}

fn escape_in_class(c: char) -> Option<char> {
    matches!(c, '\\' | '[' | ']' | '^').then_some('\\')
}

/// Text as it stands, in a regular expression.
fn escaped(text: &str) -> String {
    let is_special = |c: char| c.is_ascii_punctuation() && !"/-_".contains(c);
    text.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
#[path = "workflow_tests.rs"]
mod tests;
