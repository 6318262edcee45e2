//! Whether the repositories of what is built will be there: ECR closes the connection on a push to one that is not,
//! after the minutes that the build took. Other registries make a repository on the first push.

use super::Planned;
use super::decide::Action;
use crate::model::{CreationTemplate, Exit, Failure, Problem, named_repositories};
use crate::settings::{Run, aws_client};

/// Looks for repositories that the registry said are not there, at the target and at its copies, and that no push would
/// make. AWS is asked for creation templates, once at each, only if there are any.
///
/// # Errors
/// All of them at once, with exit code 4.
pub fn check(run: &Run, planned: &[Planned]) -> anyhow::Result<()> {
    let copies = run.copies()?;
    let mut problems = Vec::new();
    for (place, is_copy) in std::iter::once((run, false)).chain(copies.iter().map(|copy| (copy, true))) {
        problems.extend(missing_at(place, planned, is_copy)?);
    }
    Failure::unless_empty(Exit::Missing, problems)
}

fn missing_at(run: &Run, planned: &[Planned], is_copy: bool) -> anyhow::Result<Option<Problem>> {
    let Run { ctx, target, client, .. } = run;
    let is_ecr = target.role.is_some() || target.registry.as_ref().is_some_and(|r| r.value.ecr().is_some());
    if !is_ecr {
        return Ok(None);
    }
    let (mut repositories, mut unasked) = (Vec::new(), Vec::new());
    for Planned { recipe, .. } in planned.iter().filter(|planned| planned.decision.action == Action::Build) {
        let job = &recipe.job.name;
        let repository = target.repository(job).map_err(|problem| problem.exit(Exit::Usage))?;
        // The plan has looked for nothing of what has no key.
        if is_copy || recipe.expected.key.is_none() {
            unasked.push(repository.with_tag(&target.tag.value));
        }
        repositories.push((job, repository));
    }
    client.indexes(ctx, &unasked)?;
    repositories.retain(|(_, repository)| client.is_missing(repository));
    if repositories.is_empty() {
        return Ok(None);
    }
    let templates = match aws_client(ctx, target, "plan") {
        Ok(None) => return Ok(None),
        Ok(Some(client)) => client.creation_templates(),
        Err(error) => Err(error),
    };
    if let Ok(templates) = &templates {
        repositories.retain(|(_, repository)| CreationTemplate::for_push(templates, repository.name()).is_none());
    }
    if repositories.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = repositories.iter().map(|(_, repository)| repository.name()).collect();
    let target = target.name.as_ref().map(|name| format!(" --target {}", name.value)).unwrap_or_default();
    let jobs: String = repositories.iter().map(|(job, _)| format!(" {job}")).collect();
    let unseen = |error| format!("\nwhether a creation template makes them could not be seen: {error:#}");
    let unseen = templates.err().map(unseen).unwrap_or_default();
    let problem = Problem::new(named_repositories(&names), "not there")
        .rule("ECR takes a push to a repository that is there, or that a creation template makes on push");
    Ok(Some(problem.help(format!("cargo xtask ecr ensure{target}{jobs}{unseen}"))))
}
