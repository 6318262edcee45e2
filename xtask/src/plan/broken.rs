//! Jobs that nothing can be done for: a Dockerfile that cannot be read, a base that is not there. They end a run, or
//! they are put aside, and the others go on.

use crate::model::{Exit, Failure, Problem};

/// A job that is broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its name, or that of its folder where that is none.
    pub name: String,
    /// Its folder, from the repository's root.
    pub folder: String,
    pub problems: Vec<Problem>,
    exit: Exit,
}

/// What becomes of jobs that are broken.
#[derive(Clone, Debug, Default)]
pub struct BrokenJobs {
    aside: Option<Vec<Broken>>,
}

impl BrokenJobs {
    /// They are put aside where the others are to go on; else the first kind of them ends the run.
    pub fn new(keep_going: bool) -> BrokenJobs {
        BrokenJobs { aside: keep_going.then(Vec::new) }
    }

    /// Those that were put aside, in the order of their names.
    pub fn aside(&self) -> &[Broken] {
        self.aside.as_deref().unwrap_or_default()
    }

    /// The results of jobs, by their names and folders, without those that are broken.
    ///
    /// # Errors
    /// What is wrong with all that are broken, unless they are put aside; and what is no job's fault.
    pub fn part<T>(&mut self, results: Vec<(String, String, anyhow::Result<T>)>) -> anyhow::Result<Vec<T>> {
        let (mut sound, mut broken) = (Vec::new(), Vec::new());
        for (name, folder, result) in results {
            match result {
                Ok(value) => sound.push(value),
                Err(error) => {
                    let Failure { exit, problems } = error.downcast()?;
                    broken.push(Broken { name, folder, problems, exit });
                }
            }
        }
        match &mut self.aside {
            Some(aside) => {
                aside.append(&mut broken);
                aside.sort_by(|a, b| a.name.cmp(&b.name));
            }
            None => {
                let exit = broken.iter().map(|broken| broken.exit).max().unwrap_or(Exit::Usage);
                Failure::unless_empty(exit, problems(&broken))?;
            }
        }
        Ok(sound)
    }

    /// Forgets those that a run is not about.
    pub fn retain(&mut self, is_meant: impl Fn(&Broken) -> bool) {
        self.aside.iter_mut().for_each(|aside| aside.retain(&is_meant));
    }

    /// # Errors
    /// What is wrong with those that were put aside: they have failed (1), or lack something that is needed (4).
    pub fn result(&self) -> anyhow::Result<()> {
        let lacks = |broken: &Broken| broken.exit == Exit::Missing;
        let exit = if self.aside().iter().any(lacks) { Exit::Missing } else { Exit::Failed };
        Failure::unless_empty(exit, problems(self.aside()))
    }
}

/// How many further places of what several jobs lack are named.
const PLACES: usize = 3;

/// All that is wrong with them, each thing once: what several jobs lack is said of the first, with the others' places.
fn problems(broken: &[Broken]) -> Vec<Problem> {
    let mut once: Vec<(Problem, Vec<String>)> = Vec::new();
    for (exit, problem) in broken.iter().flat_map(|it| it.problems.iter().map(|problem| (it.exit, problem))) {
        let is_same = |(first, _): &&mut (Problem, Vec<String>)| {
            (exit == Exit::Missing || problem.at == first.at) && is_alike(problem, first)
        };
        match once.iter_mut().find(is_same) {
            Some((first, others)) if problem.at != first.at => others.push(problem.at.clone()),
            Some(_) => {}
            None => once.push((problem.clone(), Vec::new())),
        }
    }
    once.into_iter().map(|(problem, others)| with_places(problem, &others)).collect()
}

/// Whether two complaints differ in their places at most.
fn is_alike(one: &Problem, other: &Problem) -> bool {
    let Problem { at: _, what, excerpt, rule, help } = one;
    (what, excerpt, rule, help) == (&other.what, &other.excerpt, &other.rule, &other.help)
}

fn with_places(problem: Problem, others: &[String]) -> Problem {
    if others.is_empty() {
        return problem;
    }
    let rest = if others.len() > PLACES { ", …" } else { "" };
    let named = others.iter().take(PLACES).map(String::as_str).collect::<Vec<_>>().join(", ");
    Problem { what: format!("{} (and {} more: {named}{rest})", problem.what, others.len()), ..problem }
}
