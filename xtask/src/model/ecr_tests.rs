use expect_test::expect;
use serde_json::{Value, json};

use super::*;

fn tags(texts: &[&str]) -> Vec<Tag> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn repository(setting: &str, exclusions: &[&str]) -> EcrRepository {
    EcrRepository {
        tag_mutability: setting.to_owned(),
        exclusions: exclusions.iter().map(|pattern| (*pattern).to_owned()).collect(),
        scan_on_push: true,
        policy: None,
    }
}

fn rules(rules: &Value) -> Vec<LifecycleRule> {
    lifecycle_rules("x", &json!({ "rules": rules }).to_string()).unwrap()
}

fn findings(repository: Option<&EcrRepository>, moving: &[&str]) -> String {
    let findings = check_repository(repository, &"0123456".parse().unwrap(), &Arch::ALL, &tags(moving));
    let severity = |finding: &EcrFinding| if finding.is_fatal { "Fail" } else { "Warn" };
    findings.iter().map(|f| format!("{}: {} ({})\n", severity(f), f.what, f.rule)).collect()
}

fn of_tags(setting: &str, exclusions: &[&str], moving: &[&str]) -> String {
    findings(Some(&repository(setting, exclusions)), moving)
}

/// The findings about a policy of one rule.
fn of_rule(selection: Value, moving: &[&str]) -> String {
    of_policy(json!([{ "rulePriority": 1, "selection": selection, "action": { "type": "expire" } }]), moving)
}

fn of_policy(policy: Value, moving: &[&str]) -> String {
    let tags = EcrRepository::wanted(&tags(moving), Some(rules(&policy))).unwrap();
    findings(Some(&tags), moving)
}

#[test]
fn a_repository_has_to_exist() {
    assert_eq!(findings(None, &["latest"]), "Fail: not there (a repository is there before the first push)\n");
}

#[test]
fn tags_are_immutable_except_those_that_move() {
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*"], &[]), "");
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["latest", "key-*"], &["latest"]), "");
    assert_eq!(of_tags("IMMUTABLE_WITH_EXCLUSION", &["stag*", "l*t", "k*"], &["latest", "staging"]), "");
    assert_eq!(of_tags("MUTABLE_WITH_EXCLUSION", &["0*"], &["latest"]), "");
}

#[test]
fn a_moving_tag_that_cannot_move_fails_the_run() {
    expect![[r#"
        Fail: `latest` cannot move: the tags are immutable (the target's moving tags are excluded from immutability)
        Warn: a forced rebuild could not replace the image behind `key-…`: the tags are immutable (`key-*` is excluded from immutability)
    "#]]
    .assert_eq(&of_tags("IMMUTABLE", &[], &["latest"]));
    expect![[r#"
        Fail: `latest`, `staging` cannot move: the tags are immutable except key-* (the target's moving tags are excluded from immutability)
    "#]]
    .assert_eq(&of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*"], &["latest", "staging"]));
    expect![[r#"
        Fail: `latest` cannot move: the tags are mutable except latest (the target's moving tags are excluded from immutability)
        Warn: anybody who may push can change a published tag: the tags are mutable except latest (a published tag never changes)
    "#]]
    .assert_eq(&of_tags("MUTABLE_WITH_EXCLUSION", &["latest"], &["latest"]));
}

#[test]
fn a_key_that_cannot_move_is_a_warning() {
    expect![[r#"
        Warn: a forced rebuild could not replace the image behind `key-…`: the tags are immutable except latest (`key-*` is excluded from immutability)
    "#]]
    .assert_eq(&of_tags("IMMUTABLE_WITH_EXCLUSION", &["latest"], &["latest"]));
    expect![[r#"
        Warn: a forced rebuild could not replace the image behind `key-…`: the tags are mutable except 0* key-* (`key-*` is excluded from immutability)
    "#]]
    .assert_eq(&of_tags("MUTABLE_WITH_EXCLUSION", &["0*", "key-*"], &["latest"]));
}

#[test]
fn a_published_tag_that_can_change_is_a_warning() {
    expect![[r#"
        Warn: anybody who may push can change a published tag: the tags are mutable (a published tag never changes)
    "#]]
    .assert_eq(&of_tags("MUTABLE", &[], &["latest"]));
    for filter in ["*", "*-arm64", "0123*"] {
        let found = of_tags("IMMUTABLE_WITH_EXCLUSION", &["key-*", filter], &[]);
        assert!(found.starts_with("Warn: anybody") && found.lines().count() == 1, "{filter}: {found}");
    }
}

#[test]
fn the_remedy_can_be_pasted() {
    let help = |moving: &[&str]| {
        check_repository(Some(&repository("MUTABLE", &[])), &"0123456".parse().unwrap(), &Arch::ALL, &tags(moving))[0]
            .help
            .clone()
    };
    assert_eq!(
        help(&[]),
        "aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability IMMUTABLE_WITH_EXCLUSION \
         --image-tag-mutability-exclusion-filters 'filterType=WILDCARD,filter=key-*'"
    );
    assert_eq!(
        help(&["latest", "staging"]),
        "aws ecr put-image-tag-mutability --repository-name <name> --image-tag-mutability IMMUTABLE_WITH_EXCLUSION \
         --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=latest filterType=WILDCARD,filter=staging \
         'filterType=WILDCARD,filter=key-*'"
    );
    assert_eq!(help(&["a", "b", "c", "d", "e"]), "give this target fewer moving tags");
}

#[test]
fn a_repository_has_room_for_four_moving_tags() {
    let wanted = EcrRepository::wanted(&tags(&["a", "b", "c", "d"]), None).unwrap();
    assert_eq!(wanted.shown_tags(), "immutable except a b c d key-*");
    assert_eq!(
        EcrRepository::wanted(&tags(&["a", "b", "c", "d", "e"]), None).unwrap_err().to_string(),
        "moving-tags: there are 5\n  rule: ECR lets at most 5 patterns of tags change in an immutable repository, and \
         `key-*` is one of them\n  help: give this target fewer moving tags"
    );
}

#[test]
fn the_policy_of_this_repository_takes_nothing_that_is_needed() {
    let policy: Value = serde_json::from_str(include_str!("../../../.github/ecr-lifecycle.json")).unwrap();
    assert_eq!(of_policy(policy["rules"].clone(), &["latest"]), "");
    assert_eq!(policy["rules"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_has_no_tag_is_safe_in_its_index() {
    for count in ["imageCountMoreThan", "sinceImagePushed"] {
        assert_eq!(of_rule(json!({ "tagStatus": "untagged", "countType": count, "countNumber": 1 }), &["latest"]), "");
    }
}

#[test]
fn a_rule_by_age_is_judged_by_what_it_takes() {
    let rule = |patterns: &[&str], days: u32| json!({ "tagStatus": "tagged", "tagPatternList": patterns, "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days });
    assert_eq!(of_rule(rule(&["*-amd64"], 30), &["latest"]), "");
    assert_eq!(of_rule(rule(&["pr-*"], 1), &["latest"]), "");
    // Both patterns have to match, and no tag of an image of one architecture starts like a key.
    assert_eq!(of_rule(rule(&["*-amd64", "key-*"], 1), &["latest"]), "");
    expect![[r#"
        Warn: lifecycle rule 1 expires images tagged like `0123456-amd64` 29 days after the push (a run can be repeated for 30 days, and then needs the images it has built)
    "#]]
    .assert_eq(&of_rule(rule(&["*-amd64"], 29), &["latest"]));
    expect![[r#"
        Warn: lifecycle rule 1 expires images tagged like `0123456` 90 days after the push (an unchanged job keeps its image, which keeps its first day)
        Fail: lifecycle rule 1 expires images tagged like `latest` 90 days after the push (an unchanged job keeps its image, which keeps its first day: it would expire in use)
    "#]]
    .assert_eq(&of_rule(rule(&["*"], 90), &["latest"]));
    expect![[r#"
        Fail: lifecycle rule 1 expires images tagged like `latest` 90 days after the push (an unchanged job keeps its image, which keeps its first day: it would expire in use)
    "#]]
    .assert_eq(&of_rule(rule(&["latest"], 90), &["latest"]));
}

#[test]
fn a_rule_by_count_leaves_room_for_a_run() {
    let any = |count: u32| json!({ "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count });
    expect![[r#"
        Fail: lifecycle rule 1 expires images tagged like `0123456-amd64`, `0123456-arm64`, `0123456` when there are more than 6, and one run makes 7 (what one run pushes stays until it is published)
    "#]]
    .assert_eq(&of_rule(any(6), &[]));
    assert!(of_rule(any(7), &[]).lines().all(|line| line.starts_with("Warn: ")), "{}", of_rule(any(7), &[]));
    let prefix =
        json!({ "tagStatus": "tagged", "tagPrefixList": ["0"], "countType": "imageCountMoreThan", "countNumber": 2 });
    assert!(of_rule(prefix, &[]).contains("more than 2, and one run makes 3"));
}

#[test]
fn the_first_rule_that_selects_an_image_decides() {
    let rule = |priority: u32, pattern: &str, days: u32| {
        json!({
            "rulePriority": priority,
            "selection": { "tagStatus": "tagged", "tagPatternList": [pattern], "countType": "sinceImagePushed", "countNumber": days },
            "action": { "type": "expire" },
        })
    };
    let shielded = json!([rule(2, "*", 1), rule(1, "*6*", 3650)]);
    let found = of_policy(shielded, &[]);
    assert!(found.contains("3650 days") && !found.contains(" 1 days"), "{found}");
    let archived = json!([{
        "rulePriority": 1,
        "selection": { "tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countNumber": 90 },
        "action": { "type": "expire" },
    }]);
    assert_eq!(of_policy(archived, &["latest"]), "");
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, tag, expected) in [
        ("latest", "latest", true),
        ("latest", "latest2", false),
        ("*", "", true),
        ("*-amd64", "x-amd64", true),
        ("*-amd64", "x-amd64-y", false),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abde", false),
    ] {
        assert_eq!(matches(pattern, tag), expected, "{pattern} {tag}");
    }
}
