//! `ecr`: checks that the repositories are ready for the images, before the first minute of building, and makes those
//! that do not exist.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::{EcrCommand, Format};
use crate::model::{
    Arch, CreationTemplate, EcrFinding, EcrRepository, Exit, Failure, LifecycleRule, Problem, Publishing,
    check_repository, lifecycle_rules, named_repositories,
};
use crate::plan::{BrokenJobs, Job, select_jobs};
use crate::run::{Context, count, fleet, markdown, summary, table};
use crate::settings::{Cache, Config, Run, Target, aws_client};
use crate::tools::AwsClient;

/// How many repositories are made side by side: the AWS client needs the processor more than the network.
const PARALLEL: usize = 4;
/// The lifecycle policy of new repositories.
const POLICY: &str = ".github/ecr-lifecycle.json";

pub fn run(ctx: &Context, config: &Config, command: &EcrCommand) -> anyhow::Result<()> {
    let run = |destination| Run::new(ctx, config, destination);
    match command {
        EcrCommand::Check { jobs, format, destination } => check(&run(destination)?, jobs, *format),
        EcrCommand::Ensure { jobs, dry_run, destination } => ensure(&run(destination)?, jobs, *dry_run),
    }
}

fn check(run: &Run, names: &[String], format: Format) -> anyhow::Result<()> {
    let Run { ctx, config, target, .. } = run;
    let client = client(ctx, target, "ecr check")?;
    let jobs = select_jobs(ctx, config, names, &mut BrokenJobs::default())?;
    let names = repositories(target, &jobs)?;
    let mut existing = client.inspect(&names)?;
    count_tags(ctx, &client, &mut existing);
    let templates = if existing.len() < names.len() { known(ctx, client.creation_templates()) } else { Vec::new() };
    let rows = rows(target, &jobs, names, existing, &templates);
    let mut problems = match rows.iter().find(|row| row.found.is_some()) {
        // A role's policy covers a prefix, so one repository stands for all of them.
        Some(row) => client.refused_rights(&row.repository)?,
        None => Vec::new(),
    };
    print(ctx, format, &rows);
    let findings = rows.iter().flat_map(|row| row.findings.iter().map(|finding| (finding, row.repository.as_str())));
    for (finding, repositories) in grouped(findings) {
        let problem = problem(finding, &repositories);
        if finding.is_fatal {
            problems.push(problem);
        } else {
            ctx.ui.warning(problem);
        }
    }
    Failure::unless_empty(Exit::Missing, problems)
}

fn ensure(run: &Run, names: &[String], dry_run: bool) -> anyhow::Result<()> {
    let Run { ctx, config, target, .. } = run;
    let wanted = EcrRepository::wanted(&publishing(target, &[]), checked_in_policy(ctx)?)
        .map_err(|problem| problem.exit(Exit::Usage))?;
    let client = client(ctx, target, "ecr ensure")?;
    let jobs = select_jobs(ctx, config, names, &mut BrokenJobs::default())?;
    let names = repositories(target, &jobs)?;
    let existing = client.inspect(&names)?;
    let rows = rows(target, &jobs, names, existing, &[]);
    report_differences(ctx, &rows, &wanted);
    let missing: Vec<&JobRepository> = rows.iter().filter(|row| row.found.is_none()).collect();
    if dry_run {
        for row in missing {
            client.creation(&row.repository, &wanted, POLICY)?.iter().for_each(|command| ctx.ui.data(command));
        }
        return Ok(());
    }
    let create = |row: &&JobRepository| client.create(&row.repository, &wanted, POLICY);
    let made = fleet::run(ctx, PARALLEL, fleet::OnFailure::GoOn, &missing, |row| &row.job, create);
    ctx.ui.status("Finished", format!("{} made, {} there", made.done.len(), rows.len() - missing.len()));
    made.result().map(drop)
}

fn client<'a>(ctx: &'a Context, target: &'a Target, command: &str) -> anyhow::Result<AwsClient<'a>> {
    let registry = target.published_registry(command)?;
    aws_client(ctx, target, command)?.ok_or_else(|| {
        Problem::new(format!("registry `{registry}`"), "not an ECR registry")
            .help("log in with `login --username`")
            .exit(Exit::Usage)
    })
}

/// A job's repository, and what is wrong with it.
struct JobRepository {
    job: String,
    repository: String,
    /// The repository, if it exists.
    found: Option<EcrRepository>,
    /// What makes it on the first push, if it does not exist.
    template: Option<CreationTemplate>,
    findings: Vec<EcrFinding>,
}

impl JobRepository {
    fn health(&self) -> &'static str {
        match self.findings.iter().map(|finding| finding.is_fatal).max() {
            None => "ok",
            Some(false) => "warn",
            Some(true) => "fail",
        }
    }

    /// The repository as it is, or as it will be made.
    fn described(&self) -> Option<&EcrRepository> {
        self.found.as_ref().or(self.template.as_ref().map(|template| &template.repository))
    }

    /// How many rules the lifecycle policy has, if there is one.
    fn rules(&self) -> Option<usize> {
        Some(self.described()?.policy.as_ref()?.len())
    }
}

/// The names of the jobs' repositories.
fn repositories(target: &Target, jobs: &[Job]) -> anyhow::Result<Vec<String>> {
    let name =
        |job: &Job| Ok(target.repository(&job.name).map_err(|problem| problem.exit(Exit::Usage))?.name().to_owned());
    jobs.iter().map(name).collect()
}

/// Judges every job's repository by what was found of it.
fn rows(
    target: &Target,
    jobs: &[Job],
    names: Vec<String>,
    mut existing: BTreeMap<String, EcrRepository>,
    templates: &[CreationTemplate],
) -> Vec<JobRepository> {
    let row = |(job, repository): (&Job, String)| {
        let found = existing.remove(&repository);
        let template = CreationTemplate::for_push(templates, &repository).filter(|_| found.is_none()).cloned();
        let findings = check_repository(found.as_ref(), template.as_ref(), &publishing(target, &job.arches));
        JobRepository { job: job.name.to_string(), repository, found, template, findings }
    };
    jobs.iter().zip(names).map(row).collect()
}

fn publishing<'a>(target: &'a Target, arches: &'a [Arch]) -> Publishing<'a> {
    let Target { tag, moving_tags, cache, .. } = target;
    Publishing { tag: &tag.value, arches, moving_tags, caches: *cache == Cache::Registry }
}

/// Counts the tags of images. The call costs as much as that for a lifecycle policy, and only an image that got its
/// tags by other means than this tool has many: here, every commit has an index of its own.
fn count_tags(ctx: &Context, client: &AwsClient<'_>, existing: &mut BTreeMap<String, EcrRepository>) {
    let names: Vec<String> = existing.keys().cloned().collect();
    let counted = known(ctx, fleet::all(ctx, PARALLEL, &names, |name| client.most_tags(name)));
    existing.values_mut().zip(counted).for_each(|(repository, most)| repository.most_tags = most);
}

/// What AWS told; nothing, with a warning, where it refused: no run needs to know it.
fn known<T>(ctx: &Context, told: anyhow::Result<Vec<T>>) -> Vec<T> {
    told.unwrap_or_else(|error| {
        ctx.ui.warning(format!("{error:#}"));
        Vec::new()
    })
}

/// The policy that is checked in; `None` if there is none.
fn checked_in_policy(ctx: &Context) -> anyhow::Result<Option<Vec<LifecycleRule>>> {
    match std::fs::read_to_string(ctx.root.join(POLICY)) {
        Ok(text) => lifecycle_rules(POLICY, &text).map(Some).map_err(|problem| problem.exit(Exit::Usage)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ctx.ui.warning(format!("{POLICY}: there is none, so new repositories keep every image for ever"));
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("could not read {POLICY}")),
    }
}

/// Says how existing repositories differ from what would be made; they stay as they are.
fn report_differences(ctx: &Context, rows: &[JobRepository], wanted: &EcrRepository) {
    let mut differences = Vec::new();
    for row in rows {
        let Some(found) = &row.found else { continue };
        let mut add = |what| differences.push((what, row.repository.as_str()));
        match (&found.policy, &wanted.policy) {
            (None, Some(_)) => add("no lifecycle policy"),
            (Some(policy), Some(wanted)) if policy != wanted => add("another lifecycle policy"),
            _ => {}
        }
        row.findings.iter().for_each(|finding| add(&finding.what));
    }
    for (what, repositories) in grouped(differences) {
        ctx.ui.warning(format!("{}: {what}: left as it is", named_repositories(&repositories)));
    }
}

/// Everything once, with the repositories it is about.
fn grouped<'a, T: Ord>(pairs: impl IntoIterator<Item = (T, &'a str)>) -> BTreeMap<T, Vec<&'a str>> {
    let mut groups: BTreeMap<T, Vec<&str>> = BTreeMap::new();
    for (what, repository) in pairs {
        groups.entry(what).or_default().push(repository);
    }
    groups
}

fn problem(finding: &EcrFinding, repositories: &[&str]) -> Problem {
    let help = finding.help.replace("<name>", if let [one] = repositories { one } else { "<name>" });
    Problem::new(named_repositories(repositories), &finding.what).rule(finding.rule).help(help)
}

fn print(ctx: &Context, format: Format, rows: &[JobRepository]) {
    const HEADINGS: [&str; 6] = ["", "JOB", "REPOSITORY", "TAGS", "LIFECYCLE", "FOUND"];
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    match format {
        Format::Json => ctx.ui.data(Value::Array(rows.iter().map(json).collect())),
        Format::Table => ctx.ui.data(table(ctx, &HEADINGS, &cells)),
    }
    summary(ctx, &format!("### Repositories\n\n{}", markdown(&HEADINGS, &cells)));
}

fn cells(row: &JobRepository) -> Vec<String> {
    let none = || "-".to_owned();
    let tags = row.described().map_or_else(none, EcrRepository::shown_tags);
    let policy = row.rules().map_or_else(none, |rules| count(rules, "rule"));
    let findings = match &row.findings[..] {
        [] => row.template.as_ref().map_or_else(none, |template| {
            format!("not there, the first push makes it by template `{}`", template.prefix)
        }),
        [one] => one.what.clone(),
        more => format!("{} findings, see below", more.len()),
    };
    vec![row.health().to_owned(), row.job.clone(), row.repository.clone(), tags, policy, findings]
}

fn json(row: &JobRepository) -> Value {
    let finding = |finding: &EcrFinding| {
        let severity = if finding.is_fatal { "fail" } else { "warn" };
        let help = finding.help.replace("<name>", &row.repository);
        json!({ "severity": severity, "what": finding.what, "rule": finding.rule, "help": help })
    };
    json!({
        "job": row.job,
        "repository": row.repository,
        "health": row.health(),
        "exists": row.found.is_some(),
        "template": row.template.as_ref().map(|template| &template.prefix),
        "tags": row.described().map(EcrRepository::shown_tags),
        "lifecycle-rules": row.rules(),
        "findings": row.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
