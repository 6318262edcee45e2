//! `ecr`: whether the repositories are ready for the images, before the first build minute, and making those that
//! are not there.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Value, json};
use xshell::{Cmd, Shell};

use crate::cli::Format;
use crate::model::ecr::{self, Description, Finding, MOST_FILTERS, Mutability, Policy, Publishing, Severity};
use crate::model::problem::{Exit, Failure, Problem};
use crate::plan::jobs;
use crate::plan::jobs::Job;
use crate::run::context::Context;
use crate::run::fleet;
use crate::run::report::{count, markdown, table};
use crate::settings::Run;
use crate::settings::target::Target;
use crate::tools::aws::{self, Change, Client};
use crate::tools::process;

/// How many calls of the AWS client run side by side: it needs a processor more than the network.
const PARALLEL: usize = 4;
/// The lifecycle policy of new repositories.
const POLICY: &str = ".github/ecr-lifecycle.json";
/// How many repositories a message names.
const MOST_NAMES: usize = 5;

pub fn check(run: &Run, names: &[String], format: Format) -> anyhow::Result<()> {
    let Run { ctx, config, target } = run;
    let access = super::login::access(ctx, target, "ecr check", None)?;
    let client = Client::new(ctx, access)?;
    let registry = Registry::new(target, jobs::select(ctx, config, names)?)?;
    let rows = registry.look(ctx, &client)?;
    let mut problems = match rows.iter().find(|row| row.description.is_some()) {
        // A role's policy covers a prefix, so one repository stands for all of them.
        Some(row) => client.refused_rights(registry.account, &row.repository)?,
        None => Vec::new(),
    };
    print(ctx, format, &rows)?;
    for problem in grouped(&rows, Severity::Warn) {
        ctx.ui.warning(problem);
    }
    problems.append(&mut grouped(&rows, Severity::Fail));
    Failure::unless_empty(Exit::Missing, problems)
}

pub fn ensure(run: &Run, names: &[String], dry_run: bool) -> anyhow::Result<()> {
    let Run { ctx, config, target } = run;
    let policy = checked_in_policy(ctx)?;
    let tags = wanted_tags(target)?;
    let access = super::login::access(ctx, target, "ecr ensure", None)?;
    let client = Client::new(ctx, access)?;
    let registry = Registry::new(target, jobs::select(ctx, config, names)?)?;
    let rows = registry.look(ctx, &client)?;
    report_differences(ctx, &rows, policy.as_ref());
    let missing: Vec<&Row> = rows.iter().filter(|row| row.description.is_none()).collect();
    let making = Making { ctx, client: &client, registry: &registry, tags, has_policy: policy.is_some() };
    if dry_run {
        return missing.iter().try_for_each(|row| making.print(&row.repository));
    }
    let made =
        fleet::run(&ctx.interrupt, PARALLEL, fleet::OnFailure::GoOn, &missing, |row| making.make(&row.repository));
    let made = fleet::tally(missing.iter().map(|row| &row.job), made);
    ctx.ui.status("Finished", format!("{} made, {} there", made.done.len(), rows.len() - missing.len()));
    made.result().map(drop)
}

/// The part of the registry that the jobs' images go to.
struct Registry<'a> {
    target: &'a Target,
    /// From the registry's host; else it is the credentials' own.
    account: Option<&'a str>,
    region: &'a str,
    jobs: Vec<Job>,
}

/// What is known of a job's repository.
struct Row {
    job: String,
    repository: String,
    description: Option<Description>,
    policy: Option<Policy>,
    findings: Vec<Finding>,
}

impl Row {
    fn health(&self) -> &'static str {
        match self.findings.iter().map(|finding| finding.severity).max() {
            None => "ok",
            Some(Severity::Warn) => "warn",
            Some(Severity::Fail) => "fail",
        }
    }
}

impl<'a> Registry<'a> {
    fn new(target: &'a Target, jobs: Vec<Job>) -> anyhow::Result<Registry<'a>> {
        let registry = target.published_registry("ecr")?;
        let account = registry.ecr().map(|(account, _)| account);
        let region = target.region.as_ref().map(|region| region.value.as_str()).unwrap_or_default();
        Ok(Registry { target, account, region, jobs })
    }

    /// Looks at every job's repository: at all of them in one call, and then at each one's lifecycle policy.
    fn look(&self, ctx: &Context, client: &Client<'_>) -> anyhow::Result<Vec<Row>> {
        let described: BTreeMap<String, Description> = client
            .repositories(self.account)?
            .into_iter()
            .map(|description| (description.repository_name.clone(), description))
            .collect();
        fleet::all(ctx, PARALLEL, &self.jobs, |job| {
            let repository = self.target.repository(&job.name).map_err(Problem::usage)?;
            let name = repository.name();
            let publishing =
                Publishing { tag: &self.target.tag.value, arches: &job.arches, moving_tags: &self.target.moving_tags };
            let description = described.get(name).cloned();
            let text = if description.is_some() { client.lifecycle_policy(self.account, name)? } else { None };
            let policy = text.as_deref().map(|text| Policy::parse(&format!("lifecycle policy of `{name}`"), text));
            let policy = policy.transpose().map_err(Problem::missing)?;
            let mut findings = match &description {
                Some(description) => description.check_tags(&publishing),
                None => vec![absent()],
            };
            findings.extend(policy.iter().flat_map(|policy| policy.check(&publishing)));
            Ok(Row { job: job.name.to_string(), repository: name.to_owned(), description, policy, findings })
        })
    }
}

fn absent() -> Finding {
    Finding {
        severity: Severity::Fail,
        what: "not there".to_owned(),
        rule: "a repository is there before the first push",
        help: "cargo xtask ecr ensure".to_owned(),
    }
}

/// The policy that is checked in; `None` if there is none.
fn checked_in_policy(ctx: &Context) -> anyhow::Result<Option<Policy>> {
    match std::fs::read_to_string(ctx.root.join(POLICY)) {
        Ok(text) => Policy::parse(POLICY, &text).map(Some).map_err(Problem::usage),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ctx.ui.warning(format!("{POLICY}: there is none, so new repositories keep every image for ever"));
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("could not read {POLICY}")),
    }
}

/// The tags of new repositories: immutable, but for those that move.
fn wanted_tags(target: &Target) -> anyhow::Result<Mutability> {
    let moving = target.moving_tags.len();
    if moving > MOST_FILTERS {
        return Err(Problem::new("moving-tags", format!("there are {moving}"))
            .rule(format!("ECR lets at most {MOST_FILTERS} patterns of tags change in an immutable repository"))
            .help("give this target fewer moving tags")
            .usage());
    }
    Ok(Mutability::wanted(&target.moving_tags))
}

/// Makes repositories.
struct Making<'a> {
    ctx: &'a Context,
    client: &'a Client<'a>,
    registry: &'a Registry<'a>,
    tags: Mutability,
    has_policy: bool,
}

impl Making<'_> {
    /// The command that makes the repository, and the one that gives it its policy.
    fn commands<'s>(&self, sh: &'s Shell, name: &str) -> (Cmd<'s>, Option<Cmd<'s>>) {
        let Registry { region, account, .. } = *self.registry;
        let policy = self.has_policy.then(|| aws::put_lifecycle_policy(sh, region, account, name, POLICY));
        (aws::create_repository(sh, region, account, name, &self.tags), policy)
    }

    fn print(&self, name: &str) -> anyhow::Result<()> {
        let sh = self.ctx.shell()?;
        let (create, policy) = self.commands(&sh, name);
        for command in std::iter::once(create).chain(policy) {
            self.ctx.ui.data(process::shown(self.ctx, command));
        }
        Ok(())
    }

    fn make(&self, name: &str) -> anyhow::Result<()> {
        let sh = self.ctx.shell()?;
        let (create, policy) = self.commands(&sh, name);
        if self.client.change(create)? == Change::WasThere {
            self.ctx.ui.status("Unchanged", format!("{name}: somebody else has just made it"));
            return Ok(());
        }
        if let Some(policy) = policy {
            self.client.change(policy)?;
        }
        self.ctx.ui.status("Made", name);
        Ok(())
    }
}

/// Says how repositories that are there differ from what would be made; they stay as they are.
fn report_differences(ctx: &Context, rows: &[Row], wanted: Option<&Policy>) {
    let mut differing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for row in rows {
        let Some(description) = &row.description else { continue };
        let differences = ecr::differences(description, row.policy.as_ref(), wanted);
        let others = row.findings.iter().map(|finding| finding.what.clone());
        for what in differences.into_iter().map(str::to_owned).chain(others) {
            differing.entry(what).or_default().push(&row.repository);
        }
    }
    for (what, repositories) in differing {
        ctx.ui.warning(format!("{}: {what}: left as it is", named(&repositories)));
    }
}

/// The findings of all rows, each said once with the repositories it is about.
fn grouped(rows: &[Row], severity: Severity) -> Vec<Problem> {
    let mut groups: BTreeMap<&Finding, Vec<&str>> = BTreeMap::new();
    for row in rows {
        for finding in row.findings.iter().filter(|finding| finding.severity == severity) {
            groups.entry(finding).or_default().push(&row.repository);
        }
    }
    let problem = |(finding, repositories): (&Finding, Vec<&str>)| {
        let help = finding.help.replace("<name>", if let [one] = repositories[..] { one } else { "<name>" });
        Problem::new(named(&repositories), &finding.what).rule(finding.rule).help(help)
    };
    groups.into_iter().map(problem).collect()
}

fn named(repositories: &[&str]) -> String {
    let shown: Vec<String> = repositories.iter().take(MOST_NAMES).map(|name| format!("`{name}`")).collect();
    let more = repositories.len().saturating_sub(MOST_NAMES);
    let word = if repositories.len() == 1 { "repository" } else { "repositories" };
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{word} {}{rest}", shown.join(", "))
}

fn print(ctx: &Context, format: Format, rows: &[Row]) -> anyhow::Result<()> {
    const HEADINGS: [&str; 6] = ["", "JOB", "REPOSITORY", "TAGS", "LIFECYCLE", "FOUND"];
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    match format {
        Format::Json => ctx.ui.data(Value::Array(rows.iter().map(json).collect())),
        Format::Table => ctx.ui.data(table(&HEADINGS, &cells)),
    }
    crate::run::github::summary(ctx, &format!("### Repositories\n\n{}", markdown(&HEADINGS, &cells)))
}

fn cells(row: &Row) -> Vec<String> {
    let none = || "-".to_owned();
    let tags = row.description.as_ref().map_or_else(none, Description::shown_tags);
    let policy = row.policy.as_ref().map_or_else(none, |policy| count(policy.rules.len(), "rule"));
    let found = match &row.findings[..] {
        [] => none(),
        [one] => one.what.clone(),
        more => format!("{} findings, see below", more.len()),
    };
    vec![row.health().to_owned(), row.job.clone(), row.repository.clone(), tags, policy, found]
}

fn json(row: &Row) -> Value {
    let finding = |finding: &Finding| {
        let severity = if finding.severity == Severity::Fail { "fail" } else { "warn" };
        json!({ "severity": severity, "what": finding.what, "rule": finding.rule, "help": finding.help.replace("<name>", &row.repository) })
    };
    json!({
        "job": row.job,
        "repository": row.repository,
        "health": row.health(),
        "exists": row.description.is_some(),
        "tags": row.description.as_ref().map(Description::shown_tags),
        "lifecycle-rules": row.policy.as_ref().map(|policy| policy.rules.len()),
        "findings": row.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
