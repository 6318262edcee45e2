//! The rights with which the AWS client works: decided from what is configured and what the runner offers.

use crate::model::Problem;
use crate::run::{Context, Environment};
use crate::settings::Target;
use crate::tools::{AwsClient, TOKEN_URL};

/// The AWS client for the target's registry; `None` if that is not an ECR registry.
///
/// # Errors
/// There is no registry, or its region is not known: with exit code 2. A permission or the client itself is missing:
/// with 4.
pub fn aws_client<'a>(ctx: &'a Context, target: &'a Target, command: &str) -> anyhow::Result<Option<AwsClient<'a>>> {
    let registry = target.published_registry(command)?;
    let account = registry.ecr().map(|(account, _)| account);
    let role = target.role.as_ref().map(|role| role.value.as_str());
    // A registry with a role is ECR's whatever its host is, because a role has no other use.
    if account.is_none() && role.is_none() {
        return Ok(None);
    }
    let Some(region) = &target.region else {
        return Err(Problem::new(format!("registry `{registry}`"), "its AWS region is not known")
            .help("set AWS_REGION, or `region` of the target in Cargo.toml")
            .usage());
    };
    let role = role_to_assume(role, &ctx.env).map_err(Problem::missing)?;
    AwsClient::new(ctx, role, &region.value, account).map(Some)
}

/// The role that a workflow assumes by GitHub's identity token. A person has credentials instead.
fn role_to_assume<'a>(role: Option<&'a str>, env: &Environment) -> Result<Option<&'a str>, Problem> {
    let Some(role) = role.filter(|_| env.is_github_actions()) else { return Ok(None) };
    if env.get(TOKEN_URL).is_some() {
        return Ok(Some(role));
    }
    Err(Problem::new(format!("role `{role}`"), "GitHub gives this workflow no identity token to assume it with")
        .rule("a job asks for the token by a permission, and a pull request from a fork never gets one")
        .help("add `id-token: write` to the job's `permissions` in the workflow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/jobs-push";
    const ACTIONS: (&str, &str) = ("GITHUB_ACTIONS", "true");
    const TOKEN: (&str, &str) = ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://x");

    fn assumed<const N: usize>(role: Option<&'static str>, env: [(&str, &str); N]) -> Option<&'static str> {
        role_to_assume(role, &Environment::from(env)).unwrap()
    }

    #[test]
    fn a_workflow_assumes_the_role_and_a_laptop_uses_its_own_credentials() {
        assert_eq!(assumed(Some(ROLE), [ACTIONS, TOKEN]), Some(ROLE));
        assert_eq!(assumed(Some(ROLE), []), None);
        assert_eq!(assumed(Some(ROLE), [TOKEN]), None);
        assert_eq!(assumed(None, [ACTIONS]), None);
    }

    #[test]
    fn a_permission_that_is_missing_is_named() {
        assert_eq!(
            role_to_assume(Some(ROLE), &Environment::from([ACTIONS])).unwrap_err().to_string(),
            format!(
                "role `{ROLE}`: GitHub gives this workflow no identity token to assume it with\n  \
                 rule: a job asks for the token by a permission, and a pull request from a fork never gets one\n  \
                 help: add `id-token: write` to the job's `permissions` in the workflow"
            )
        );
    }
}
