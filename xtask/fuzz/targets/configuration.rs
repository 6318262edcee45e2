//! `[workspace.metadata.jobs]` and `job.json`: what is accepted keeps every rule, and every mistake is told.

#![no_main]

use fuzz::model::{Exit, Failure, JobFiles, Problem, Registry, Repository, Tag, TrustedWorkflow, matches_ref};
use fuzz::run::{Context, Environment, Ui};
use fuzz::settings::{Config, job_settings};
use fuzz::{check_message, check_problem};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use regex_lite::Regex;
use serde_json::{Map, Value, json};

const SOURCE: &str = "https://github.com/acme/jobs";

/// Keys and texts of both files, which take a fuzzer long to guess.
const KEYS: &str = "prefix sha-length max-legs runners mirrors provenance secrets targets refs registry role username \
                    region moving-tags copies sign cache amd64 group labels args not-secrets inputs timeout-minutes";
const TEXTS: &str = "refs/heads/main refs/tags/v* 127.0.0.1:5000 111122223333.dkr.ecr.eu-west-1.amazonaws.com \
                     arn:aws:iam::111122223333:role/x docker.io latest min registry npm_token job-a ubuntu-24.04";

thread_local! {
    static CONTEXT: Context = {
        let env = Environment::default();
        let ui = Ui::new(clap::ColorChoice::Never, -2, &env);
        Context::new("/nowhere".into(), env, ui).unwrap()
    };
}

fn check_problems(problems: &[Problem]) {
    assert!(!problems.is_empty());
    problems.iter().for_each(check_problem);
}

fn check_failure(error: &anyhow::Error) {
    let failure = error.downcast_ref::<Failure>().expect("a mistake in a file");
    assert_eq!(failure.exit, Exit::Usage);
    check_problems(&failure.problems);
    check_message(&failure.to_string());
}

fn check_job_settings(text: &str) {
    let settings = match job_settings("jobs/x/job.json", text) {
        Ok(settings) => settings,
        Err(problems) => return check_problems(&problems),
    };
    assert!(serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()), "{text:?}");
    for settings in settings.into_values() {
        assert!(settings.images.is_empty());
        assert!(settings.arches.is_none_or(|arches| !arches.is_empty()));
        assert!(settings.timeout_minutes.is_none_or(|minutes| minutes > 0));
        let mut paths = settings.inputs.iter().chain(&settings.context).chain(&settings.dockerfile);
        assert!(!paths.any(|path| path.starts_with('/') || path.split('/').any(|part| part == "..")));
        for (name, value) in settings.args.iter().chain(&settings.labels) {
            assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'), "{name:?} {value:?}");
        }
    }
}

fn check_table(text: &str) {
    let Ok(table) = serde_json::from_str::<Value>(text) else { return };
    let config = match CONTEXT.with(|ctx| Config::read(ctx, &json!({ "jobs": table }))) {
        Ok(config) => config,
        Err(error) => return check_failure(&error),
    };
    assert!(Repository::new(None, &config.prefix).is_ok());
    assert!((4..=40).contains(&config.sha_length) && (1..=256).contains(&config.max_legs));
    assert!(!config.runners.is_empty());
    for target in config.targets.values() {
        assert!(target.registry.iter().all(|host| host.parse::<Registry>().is_ok()), "{target:?}");
        assert!(target.prefix.iter().all(|prefix| Repository::new(None, prefix).is_ok()), "{target:?}");
        assert!(target.moving_tags.iter().all(|tag| Tag::for_images(tag).is_ok()), "{target:?}");
        assert!(target.role.iter().chain(&target.read_role).all(|role| role.starts_with("arn:aws")), "{target:?}");
        target.refs.iter().for_each(|pattern| check_trust(pattern));
    }
    let names: Vec<String> = config.targets.keys().map(|name| format!("{name}=127.0.0.1:5000")).collect();
    if let Err(error) = config.mirrors_with(&names) {
        check_failure(&error);
    }
    let job = "job-a".parse().unwrap();
    let dir = "jobs/job-a";
    let files = JobFiles { dir: dir.into(), dockerfile: format!("{dir}/Dockerfile").into(), context: "".into() };
    for allowed in [&config.secrets, &config.env_args, &config.ssh] {
        allowed.for_nobody(&["job-a"]).iter().for_each(check_problem);
        allowed.refused(&job, &files, &["npm_token".to_owned()]).iter().for_each(check_problem);
    }
}

/// The refs whose signatures count are those that are published.
fn check_trust(pattern: &str) {
    let trusted = TrustedWorkflow::new(Some(SOURCE), &[pattern.to_owned()]).expect("a repository with refs");
    // Go, for which the expression is written, has no such operators between classes.
    if ["&&", "--", "~~"].iter().any(|operator| pattern.contains(operator)) {
        return;
    }
    let regex = Regex::new(&trusted.regexp()).unwrap_or_else(|error| panic!("{pattern:?}: {error}"));
    for (star, mark) in [("x", "y"), ("", "-"), ("x/y", "/"), ("]", "[")] {
        let git_ref = pattern.replace('*', star).replace('?', mark);
        let identity = format!("{SOURCE}/.github/workflows/images.yml@{git_ref}");
        assert_eq!(regex.is_match(&identity), matches_ref(pattern, &git_ref), "{pattern:?} {git_ref:?}");
    }
}

fn a_word(data: &mut Unstructured<'_>, words: &str) -> Result<String> {
    let words: Vec<&str> = words.split(' ').collect();
    Ok((*data.choose(&words)?).to_owned())
}

fn a_text(data: &mut Unstructured<'_>) -> Result<String> {
    if data.ratio(1, 2)? { a_word(data, TEXTS) } else { data.arbitrary() }
}

/// A table of keys that are known, or nearly so.
fn a_table(data: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let mut table = Map::new();
    for _ in 0..data.int_in_range(0..=5)? {
        let key = if data.ratio(3, 4)? { a_word(data, KEYS)? } else { a_text(data)? };
        table.insert(key, a_value(data, depth)?);
    }
    Ok(Value::Object(table))
}

fn a_value(data: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match data.int_in_range(0..=5)? {
        0 => data.arbitrary::<bool>()?.into(),
        1 => data.arbitrary::<u16>()?.into(),
        2 | 3 => a_text(data)?.into(),
        4 if depth > 0 => a_table(data, depth - 1)?,
        _ => (0..data.int_in_range(0..=2)?).map(|_| a_text(data)).collect::<Result<Vec<String>>>()?.into(),
    })
}

fuzz_target!(|data: &[u8]| {
    let generated = a_table(&mut Unstructured::new(data), 3).ok().map(|table| table.to_string());
    for text in str::from_utf8(data).ok().into_iter().chain(generated.as_deref()) {
        check_job_settings(text);
        check_table(text);
    }
});
