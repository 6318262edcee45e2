//! The AWS client that a target's registry needs.

use crate::model::{Exit, Problem};
use crate::run::Context;
use crate::settings::Target;
use crate::tools::AwsClient;

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
            .exit(Exit::Usage));
    };
    AwsClient::new(ctx, role, &region.value, account).map(Some)
}
