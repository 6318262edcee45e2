//! A leg's slice of the plan: one compact string by which every runner builds the same thing.
//!
//! `<version>;<commit>;<digest>,…;<job>:<check>:<base>.<base>,…` where the version is `1`, or `1f` if images are built
//! by force, a digest is 64 hex digits, a job its position among the commit's jobs, sorted by name, a check the first
//! digits of its key, and a base the position of its digest in the slice; a job's bases stand in the order of their
//! names. The runner works the key out by itself from its checkout and these digests; the check tells whether it found
//! the same.

use std::fmt;
use std::str::FromStr;

use crate::model::{Commit, Digest, Key, Problem};

/// How many digits of a key a slice carries: the runner knows the rest, and 20,000 of them have to fit into 1 MB.
const CHECK_DIGITS: usize = 8;

/// What a runner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub commit: Commit,
    /// Whether images are built although others with their keys exist.
    pub forced: bool,
    /// Sorted by position.
    pub jobs: Vec<SliceJob>,
}

impl Slice {
    /// What is said of the job at a position.
    pub fn job(&self, position: usize) -> Option<&SliceJob> {
        self.jobs.get(self.jobs.binary_search_by_key(&position, |job| job.position).ok()?)
    }
}

/// One job of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceJob {
    /// Position among all jobs of the commit, sorted by name.
    pub position: usize,
    check: String,
    /// In the order of the bases' names.
    pub bases: Vec<Digest>,
}

impl SliceJob {
    pub fn new(position: usize, key: &Key, bases: Vec<Digest>) -> SliceJob {
        SliceJob { position, check: key.to_string()[..CHECK_DIGITS].to_owned(), bases }
    }

    /// Whether a key that was worked out here is the one that was meant.
    pub fn is_of(&self, key: &Key) -> bool {
        key.to_string().starts_with(&self.check)
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digests: Vec<&Digest> = self.jobs.iter().flat_map(|job| &job.bases).collect();
        digests.sort();
        digests.dedup();
        let shown: Vec<String> = digests.iter().map(|digest| digest.to_string().replace("sha256:", "")).collect();
        let version = if self.forced { "1f" } else { "1" };
        write!(f, "{version};{};{};", self.commit, shown.join(","))?;
        for (i, job) in self.jobs.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let bases: Vec<String> =
                job.bases.iter().filter_map(|base| Some(digests.binary_search(&base).ok()?.to_string())).collect();
            write!(f, "{comma}{}:{}:{}", job.position, job.check, bases.join("."))?;
        }
        Ok(())
    }
}

impl FromStr for Slice {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Slice, Problem> {
        let problem = || {
            Problem::new("--plan", "not a slice of a plan")
                .rule("the text that `cargo xtask discover --changed --format matrix` gives as `plan`")
                .help("copy it whole, or leave it out: the plan is made here then")
        };
        let mut parts = text.trim().split(';');
        let (Some(version @ ("1" | "1f")), Some(commit), Some(digests), Some(jobs), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(problem());
        };
        let items = |list: &'_ str, separator: char| -> Vec<String> {
            list.split(separator).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let commit = commit.parse().map_err(|_| problem())?;
        let digests: Result<Vec<Digest>, Problem> =
            items(digests, ',').iter().map(|hex| format!("sha256:{hex}").parse()).collect();
        let digests = digests.map_err(|_| problem())?;
        let job = |item: &String| -> Option<SliceJob> {
            let mut fields = item.split(':');
            let (position, check) = (fields.next()?.parse().ok()?, fields.next()?.to_owned());
            let bases = items(fields.next()?, '.');
            let bases = bases.iter().map(|index| digests.get(index.parse::<usize>().ok()?).cloned());
            (check.len() == CHECK_DIGITS && check.bytes().all(|b| b.is_ascii_hexdigit())).then_some(())?;
            Some(SliceJob { position, check, bases: bases.collect::<Option<Vec<Digest>>>()? })
        };
        let jobs: Option<Vec<SliceJob>> = items(jobs, ',').iter().map(job).collect();
        let slice = Slice { commit, forced: version == "1f", jobs: jobs.ok_or_else(problem)? };
        let is_sorted = slice.jobs.is_sorted_by(|a, b| a.position < b.position);
        Some(slice).filter(|slice| is_sorted && slice.to_string() == text.trim()).ok_or_else(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: char) -> Digest {
        format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
    }

    #[test]
    fn a_slice_round_trips() {
        let key = Key::for_test("0123456789abcdef0123");
        let jobs = vec![
            SliceJob::new(0, &key, vec![digest('b'), digest('a')]),
            SliceJob::new(7, &key, Vec::new()),
            SliceJob::new(9999, &key, vec![digest('b')]),
        ];
        let slice = Slice { commit: "c".repeat(40).parse().unwrap(), forced: false, jobs };
        let text = slice.to_string();
        assert_eq!(
            text,
            format!(
                "1;{};{},{};0:01234567:1.0,7:01234567:,9999:01234567:1",
                "c".repeat(40),
                "a".repeat(64),
                "b".repeat(64)
            )
        );
        assert_eq!(text.parse::<Slice>().unwrap(), slice);
        assert!(slice.jobs[0].is_of(&key));
        assert!(!slice.jobs[0].is_of(&Key::for_test("1123456789abcdef0123")));
        let empty = Slice { commit: "c".repeat(40).parse().unwrap(), forced: true, jobs: Vec::new() };
        assert_eq!(empty.to_string().parse::<Slice>().unwrap(), empty);
    }

    #[test]
    fn what_is_no_slice_is_refused() {
        let (commit, digest) = ("c".repeat(40), "a".repeat(64));
        let parses = |text: &str| text.replace('C', &commit).replace('D', &digest).parse::<Slice>().is_ok();
        assert!(parses("1;C;D;0:01234567:0,1:01234567:0"));
        for text in ["", "x", "2;C;;", "1;c;;", "1;C;zz;", "1;C;;x:01234567:", "1;C;;0:0123:", "1;C;;;"] {
            assert!(!parses(text), "{text:?}");
        }
        // What is not written as it is printed: no digits, no such digest, one in vain, not sorted, twice, and more.
        for jobs in ["0:0123456x:0", "0:01234567:1", "0:01234567:", "1:01234567:0,0:01234567:0", "+0:01234567:0"] {
            assert!(!parses(&format!("1;C;D;{jobs}")), "{jobs:?}");
        }
        for jobs in ["0:01234567:0,0:01234567:0", "0:01234567:0:0", "0:01234567:0,"] {
            assert!(!parses(&format!("1;C;D;{jobs}")), "{jobs:?}");
        }
    }
}
