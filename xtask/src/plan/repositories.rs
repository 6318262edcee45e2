//! Whether the repositories of what is built will be there: ECR closes the connection on a push to one that is not,
//! after the minutes that the build took. Other registries make a repository on the first push.

use super::Planned;
use super::decide::Action;
use crate::model::{CreationTemplate, Exit, Problem, named_repositories};
use crate::settings::{Run, aws_client};

/// Looks for repositories that the registry said are not there, and that no push would make. AWS is asked for creation
/// templates, once, only if there are any.
///
/// # Errors
/// All of them at once, with exit code 4.
pub fn check(run: &Run, planned: &[Planned]) -> anyhow::Result<()> {
    let Run { ctx, target, client, .. } = run;
    let expected = planned.iter().filter(|planned| planned.decision.action == Action::Build);
    let expected = expected.map(|planned| &planned.recipe.expected);
    let mut missing: Vec<_> = expected.filter(|expected| client.is_missing(&expected.repository)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let templates = match aws_client(ctx, target, "plan") {
        Ok(None) => return Ok(()),
        Ok(Some(client)) => client.creation_templates(),
        Err(error) => Err(error),
    };
    if let Ok(templates) = &templates {
        missing.retain(|expected| CreationTemplate::for_push(templates, expected.repository.name()).is_none());
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|expected| expected.repository.name()).collect();
    let target = target.name.as_ref().map(|name| format!(" --target {}", name.value)).unwrap_or_default();
    let jobs: String = missing.iter().map(|expected| format!(" {}", expected.job)).collect();
    let unseen = |error| format!("\nwhether a creation template makes them could not be seen: {error:#}");
    let unseen = templates.err().map(unseen).unwrap_or_default();
    Err(Problem::new(named_repositories(&names), "not there")
        .rule("ECR takes a push to a repository that is there, or that a creation template makes on push")
        .help(format!("cargo xtask ecr ensure{target}{jobs}{unseen}"))
        .exit(Exit::Missing))
}
