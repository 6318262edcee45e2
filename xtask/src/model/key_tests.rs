use super::*;

fn entry(path: &str, mode: u32, blob: &str) -> TreeEntry {
    TreeEntry { path: path.as_bytes().to_vec(), mode, blob: blob.to_owned() }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn digest(of: char) -> Digest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

/// Everything that a key is made of, to be changed one by one.
#[derive(Clone)]
struct Recipe {
    stage: Option<&'static str>,
    args: BTreeMap<String, String>,
    bases: BTreeMap<String, Digest>,
    files: Vec<TreeEntry>,
    history: Option<Commit>,
}

impl Recipe {
    fn new() -> Recipe {
        Recipe {
            stage: None,
            args: map(&[("A", "1"), ("B", "2")]),
            bases: BTreeMap::from([("busybox:1.37".to_owned(), digest('1'))]),
            files: vec![entry("a", 0o100_644, "11"), entry("b c\nd\u{e9}", 0o100_755, "22")],
            history: None,
        }
    }

    fn key(&self) -> String {
        let files = hash_of_files(self.files.iter(), self.history.as_ref());
        Key::of(self.stage, &self.args, &self.bases, files, "", None).to_string()
    }
}

#[test]
fn a_key_is_the_same_on_every_machine() {
    // Changing this text rebuilds every job of every repository: change VERSION with it.
    assert_eq!(Recipe::new().key(), "fe194dabd275453fa1a9");
}

#[test]
fn any_single_change_is_another_key() {
    let changes: Vec<fn(&mut Recipe)> = vec![
        |_| {},
        |r| r.stage = Some("release"),
        |r| drop(r.args.insert("A".to_owned(), "2".to_owned())),
        |r| drop(r.args.insert("C".to_owned(), String::new())),
        |r| drop(r.args.remove("B")),
        |r| r.args = map(&[("A", "1B"), ("", "2")]),
        |r| drop(r.bases.insert("busybox:1.37".to_owned(), digest('2'))),
        |r| drop(r.bases.insert("busybox".to_owned(), digest('1'))),
        |r| r.bases.clear(),
        |r| r.files[0].blob = "12".to_owned(),
        |r| r.files[0].mode = 0o100_755,
        |r| r.files[0].mode = 0o120_000,
        |r| r.files[0].mode = 0o160_000,
        |r| r.files[0].path = b"a ".to_vec(),
        |r| drop(r.files.remove(1)),
        |r| r.files.push(entry("e", 0o100_644, "11")),
        |r| r.files[0] = entry("a11", 0o100_644, ""),
        |r| r.history = "0".repeat(40).parse().ok(),
    ];
    let keys: Vec<String> = changes
        .iter()
        .map(|change| {
            let mut recipe = Recipe::new();
            change(&mut recipe);
            recipe.key()
        })
        .collect();
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(keys.iter().position(|other| other == key), Some(i), "change {i} gives a key that another has");
    }
}

#[test]
fn the_context_is_not_taken_for_files() {
    let (none, some) = (hash_of_files([].iter(), None), hash_of_files([entry("a", 0o100_644, "1")].iter(), None));
    let key = |files, folder, context| {
        let (args, bases) = (BTreeMap::new(), BTreeMap::new());
        Key::of(None, &args, &bases, files, folder, context)
    };
    let keys = [
        key(none, "", None),
        key(some, "", None),
        key(none, "", Some(none)),
        key(none, "", Some(some)),
        key(some, "", Some(none)),
        key(none, "a", None),
        key(none, "b", None),
        key(none, "a", Some(none)),
    ];
    assert!((0..keys.len()).all(|i| !keys[..i].contains(&keys[i])));
}

#[test]
fn the_order_of_configuration_keys_does_not_matter() {
    let mut recipe = Recipe::new();
    recipe.args = map(&[("B", "2"), ("A", "1")]);
    assert_eq!(recipe.key(), Recipe::new().key());
}

#[test]
fn a_key_names_a_tag() {
    let key = Key::for_test("0123456789abcdef0123");
    assert_eq!(crate::model::reference::Tag::for_key(&key).to_string(), "key-0123456789abcdef0123");
}

/// Numbers that look random, and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 8] = ["a", "b", "/", " ", "\n", "\u{e9}", "1", "\""];
        (0..self.below(6)).map(|_| PARTS[self.below(8)]).collect()
    }

    fn recipe(&mut self) -> Recipe {
        let mut recipe = Recipe::new();
        recipe.args = (0..self.below(4)).map(|_| (self.text(), self.text())).collect();
        recipe.bases = (0..self.below(3)).map(|_| (self.text(), digest(['0', '1', '2'][self.below(3)]))).collect();
        let modes = [0o100_644, 0o100_755, 0o120_000, 0o160_000];
        recipe.files = (0..self.below(6))
            .map(|i| entry(&format!("{i}{}", self.text()), modes[self.below(4)], &self.text()))
            .collect();
        recipe
    }
}

#[test]
fn recipes_have_the_same_key_only_if_they_are_the_same() {
    let mut numbers = Numbers(1);
    let mut seen = BTreeMap::new();
    for _ in 0..5000 {
        let recipe = numbers.recipe();
        let shown = format!("{:?} {:?} {:?}", recipe.args, recipe.bases, recipe.files);
        let before = seen.insert(recipe.key(), shown.clone());
        assert!(before.as_ref().is_none_or(|before| *before == shown), "{before:?}\n{shown}");
    }
    assert!(seen.len() > 4000, "{}", seen.len());
}

#[test]
fn the_order_in_which_a_map_is_filled_does_not_matter() {
    let mut numbers = Numbers(2);
    for _ in 0..200 {
        let recipe = numbers.recipe();
        let mut other = recipe.clone();
        let mut pairs: Vec<(String, String)> = recipe.args.clone().into_iter().collect();
        for i in (1..pairs.len()).rev() {
            pairs.swap(i, numbers.below(i + 1));
        }
        other.args = pairs.into_iter().collect();
        assert_eq!(other.key(), recipe.key());
    }
}
