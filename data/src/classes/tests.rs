use super::*;

/// Classes with these names, separated by commas; the first name is the label.
fn classes(names: &[&str]) -> Classes {
    let class = |names: &&str| {
        let names: Vec<String> = names.split(", ").map(String::from).collect();
        Class { label: names[0].clone(), aliases: usual(&names), names }
    };
    Classes::of(names.iter().map(class), vec!["a {}".into()])
}

/// Names of the classes that a caption names, and of those that it mentions.
fn found(classes: &Classes, caption: &str) -> [String; 2] {
    let names = |classes_of: Vec<u32>| {
        classes_of.into_iter().map(|class| classes.name(class).to_string()).collect::<Vec<_>>().join(" + ")
    };
    [names(classes.named_in(caption)), names(classes.mentioned_in(caption))]
}

#[test]
fn captions_name_classes_by_whole_words_in_any_case() {
    let classes = classes(&["cat, tabby", "ice cream"]);
    assert_eq!(classes.named_in("A Tabby, eating ICE cream"), [0, 1]);
    assert_eq!(classes.named_in("a catalogue of ice"), [] as [u32; 0]);
    assert_eq!(classes.mentioned_in("a catalogue of ice"), [] as [u32; 0]);
    assert_eq!(classes.prompts(1).collect::<Vec<_>>(), ["a ice cream"]);
}

#[test]
fn the_longest_name_is_mined_and_the_shorter_one_within_it_is_only_mentioned() {
    let classes = classes(&["lion", "sea lion", "lionfish", "bear", "teddy bear, teddy"]);
    for (caption, named, mentioned) in [
        ("a sea lion", "sea lion", "lion + sea lion"),
        ("a lion by the sea", "lion", "lion"),
        ("a sea lion and a lion", "lion + sea lion", "lion + sea lion"),
        ("two sea-lions", "", "lion + sea lion"),
        ("a sealion", "", "sea lion"),
        ("a sea-lion", "sea lion", "lion + sea lion"),
        ("lion fish in a tank", "", "lion + lionfish"),
        ("my teddy bear", "teddy bear", "bear + teddy bear"),
        ("teddy", "teddy bear", "teddy bear"),
        ("the lions' den", "", "lion"),
        ("the lion's den", "lion", "lion"),
    ] {
        assert_eq!(found(&classes, caption), [named, mentioned], "{caption}");
    }
}

#[test]
fn plurals_mention_a_class_and_words_of_their_own_do_not() {
    let classes =
        classes(&["banana", "glass", "goose", "knife", "man", "bus", "mouse", "acorn", "wine glass", "tshirt"]);
    for (caption, mentioned) in [
        ("a bunch of bananas", "banana"),
        ("BANANAS!", "banana"),
        ("the banana's peel", "banana"),
        ("bananaquit", ""),
        ("geese, men, mice and buses", "goose + man + bus + mouse"),
        ("knives", "knife"),
        ("a woman with glasses", ""),
        ("two wine glasses", "wine glass"),
        ("wineglasses", "wine glass"),
        ("a corn field", ""),
        ("a T-shirt", "tshirt"),
    ] {
        assert_eq!(found(&classes, caption)[1], mentioned, "{caption}");
    }
    assert_eq!(found(&classes, "bananas")[0], "", "mined captions have the exact name");
}

#[test]
fn a_class_of_its_own_is_no_plural_of_another() {
    let alone = classes(&["glass", "bowl"]);
    assert_eq!(found(&alone, "bowls")[1], "bowl");
    let both = classes(&["bowl", "bowls", "sealion", "sea lion"]);
    assert_eq!(found(&both, "a game of bowls"), ["bowls", "bowls"]);
    assert_eq!(found(&both, "a bowl"), ["bowl", "bowl"]);
    assert_eq!(found(&both, "a sealion"), ["sealion", "sealion"]);
    assert_eq!(found(&both, "sea lions")[1], "sealion + sea lion", "the plural is ambiguous");
    assert_eq!(found(&classes(&["glasses"]), "a glass")[1], "", "nor the other way round");
    assert_eq!(found(&classes(&["axe", "axis"]), "axes")[1], "axe + axis");
}

#[test]
fn captions_are_searched_as_the_tokenizer_repairs_them() {
    let classes = classes(&["piña colada", "banana", "café"]);
    let decomposed = "a pin\u{303}a colada";
    for caption in [decomposed, "a pi&ntilde;a colada", "a piÃ±a colada", "PIÑA COLADA"] {
        assert_eq!(found(&classes, caption)[0], "piña colada", "{caption}");
    }
    assert_eq!(found(&classes, "a &lt;b&gt;banana&lt;/b&gt;")[0], "banana");
    assert_eq!(found(&classes, "ｂａｎａｎａ")[0], "banana");
    assert_eq!(found(&super::tests::classes(&["cafe\u{301}"]), "a CAFÉ")[0], "cafe\u{301}", "names are repaired, too");
}

#[test]
fn what_a_prompt_has_in_brackets_no_caption_says_and_aliases_stand_apart() {
    let brackets = classes(&["kite (bird of prey)", "(hmm)"]);
    assert_eq!(found(&brackets, "flying a kite")[0], "kite (bird of prey)");
    assert_eq!(found(&brackets, "hmm")[0], "(hmm)");
    let class = |label: &str, name: &str, aliases: &[&str]| Class {
        label: label.into(),
        names: vec![name.into()],
        aliases: aliases.iter().map(|alias| alias.to_string()).collect(),
    };
    let list =
        [class("n01", "kite (bird of prey)", &["red kite", "black kite"]), class("n02", "kestrel", &["kestrel"])];
    let apart = Classes::of(list, vec!["a photo of a {}".into()]);
    assert_eq!(apart.prompts(0).collect::<Vec<_>>(), ["a photo of a kite (bird of prey)"]);
    assert_eq!(found(&apart, "flying a kite"), ["", "kite (bird of prey)"]);
    assert_eq!(found(&apart, "a Red Kite")[0], "kite (bird of prey)");
    let file = apart.file();
    assert_eq!(file.aliases.len(), 1, "those of kestrel follow from its names");
    assert_eq!(Classes::new(Vec::new(), Some(file.clone())).file(), file);
    assert_eq!(found(&Classes::new(Vec::new(), Some(file)), "flying a kite")[0], "");
}

#[test]
fn labels_of_one_name_are_one_class_and_it_is_said() {
    let class = |label: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        Class { label: label.into(), aliases: names.clone(), names }
    };
    let list = [
        class("a", &["missile"]),
        class("b", &["dog"]),
        class("c", &["Missile!", "rocket"]),
        class("d", &["😀"]),
        class("e", &["😎"]),
    ];
    let classes = Classes::of(list, vec!["{}".into()]);
    assert_eq!((classes.len(), classes.labels.join(" ")), (4, "a b d e".into()));
    assert_eq!(
        [classes.of_label("a"), classes.of_label("c"), classes.of_label("b"), classes.of_label("x")],
        [Some(0), Some(0), Some(1), None]
    );
    assert_eq!([classes.find("rocket").unwrap(), classes.find("c").unwrap()], [0, 0]);
    assert_eq!(classes.named_in("a rocket and a dog"), [0, 1]);
    let warning = classes.warning().unwrap();
    assert!(warning.contains("`missile` (a, c)") && !warning.contains("dog"), "{warning}");
    assert!(super::tests::classes(&["dog", "cat"]).warning().is_none());
}

/// A caption from the web may have any length: the time must grow linearly with it.
#[test]
fn a_caption_of_megabytes_is_searched_in_one_pass() {
    let classes = classes(&["a", "a a", "a a a", "aa", "banana split"]);
    let caption = "a ".repeat(500_000) + &"banana".repeat(100_000) + " banana split";
    let clock = std::time::Instant::now();
    assert_eq!(classes.named_in(&caption), [2, 4]);
    assert!(clock.elapsed().as_secs() < 20, "{:?}", clock.elapsed());
}
