//! Logins that expire, repositories that are not there, and tags that never change.

use std::sync::atomic::{AtomicBool, Ordering};

use base64ct::{Base64, Encoding};

use crate::case::Case;
use crate::check::Reader;
use crate::ecr_front::{Ecr, OWN_ACCOUNT, authorization};
use crate::front::{Fault, LATEST_WRITE, ONCE, Passing, Place, TAG_READ, TAG_WRITE, rule};
use crate::harness::TempDir;
use crate::lab::{A, B, Bench, Lab, Runner, build};
use crate::proxy::{Answer, Request};
use crate::requests::{COMMANDS, Command, judged};

/// The password that docker was given once, and the one that the program is given.
const OLD: &str = "old";
const NEW: &str = "new";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for command in COMMANDS {
        for &place in command.places {
            for says in ["401", "403"] {
                let name =
                    format!("{}: the login expires at the {}, which is said by {says}", command.name, place.name);
                let case = Case::new("logins", name, move |lab| expire(lab, command, place, says));
                cases.push(case.quick(place.name == TAG_WRITE.name && says == "403"));
            }
        }
    }
    for (name, command, place, fault) in [
        ("the push of an image is answered to nobody", &build()[..], TAG_WRITE, Fault::Lost),
        ("the write of the tag is answered to nobody", &["merge"], TAG_WRITE, Fault::Lost),
        ("the write of latest is answered to nobody", &["merge"], LATEST_WRITE, Fault::Lost),
        ("too many images are put", &["merge"], TAG_WRITE, Fault::TooMany(None)),
        ("the tag is not there at once", &["merge"], TAG_READ, Fault::Missing),
    ] {
        let command: Vec<&'static str> = command.to_vec();
        cases.push(Case::new("repositories whose tags never change", name, move |lab| {
            immutable(lab, &command, rule(place, fault, ONCE))
        }));
    }
    cases
}

fn basic(password: &str) -> String {
    format!("Basic {}", Base64::encode_string(format!("user:{password}").as_bytes()))
}

/// What docker knows of a registry's login.
fn docker_config(registry: &str, authorization: &str) -> TempDir {
    let folder = TempDir::new();
    let auth = authorization.trim_start_matches("Basic ");
    let config = serde_json::json!({ "auths": { registry: { "auth": auth } } });
    std::fs::write(folder.0.join("config.json"), config.to_string()).unwrap();
    folder
}

/// A registry that wants a login, and from a request on another one than docker has.
fn expire(lab: &Lab, command: Command, place: Place, says: &'static str) -> Result<(), String> {
    let mut bench = command.bench(lab);
    let docker = docker_config(bench.runner.front.address(), &basic(OLD));
    for (name, value) in
        [("DOCKER_CONFIG", docker.0.to_str().unwrap()), ("JOBS_USERNAME", "user"), ("JOBS_PASSWORD", NEW)]
    {
        bench.runner = bench.runner.with_env(name, value);
    }
    let is_over = AtomicBool::new(false);
    bench.runner.front.set(move |request, _, _| {
        let challenge = [("WWW-Authenticate", "Basic realm=\"https://ecr/\",service=\"ecr.amazonaws.com\"")];
        let unknown = || Some(Answer::error("401 Unauthorized", &challenge, "UNAUTHORIZED", "Not Authorized"));
        let Some(login) = request.header("Authorization") else { return unknown() };
        let is_over = is_over.fetch_or(place.holds(request), Ordering::SeqCst) || place.holds(request);
        match (login == basic(NEW), says) {
            (true, _) => None,
            _ if !is_over => None,
            (false, "401") => unknown(),
            (false, _) => {
                let message = "Your authorization token has expired. Reauthenticate and try again.";
                Some(Answer::error("403 Forbidden", &[], "DENIED", message))
            }
        }
    });
    judged(&bench, &command.args(), &[0])
}

/// ECR, in which A is published, and B is built and merged with a fault.
fn immutable(
    lab: &Lab,
    command: &[&str],
    rule: impl Fn(&Request, usize, &Passing) -> Option<Answer> + Send + Sync + 'static,
) -> Result<(), String> {
    let ecr = Ecr::start();
    ecr.make_on_push("jobs");
    let (a, b) = (Runner::new(lab.tree(A), ecr.address()), Runner::new(lab.tree(B), ecr.address()));
    let dockers = [&a, &b].map(|runner| docker_config(runner.front.address(), &authorization(OWN_ACCOUNT)));
    let [a, b] = [(a, &dockers[0]), (b, &dockers[1])]
        .map(|(runner, docker)| runner.with_env("DOCKER_CONFIG", docker.0.to_str().unwrap()));
    a.finish()?;
    let bench = Bench::of(lab, B, b, Reader::of(ecr.store()));
    if command[0] == "merge" {
        bench.runner.run(&build()).with(&[0])?;
    }
    bench.runner.front.set(rule);
    judged(&bench, command, &[0])
}
