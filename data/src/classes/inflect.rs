//! Singular and plural of English nouns, from WordNet 3.0's list (Fellbaum, ed., 1998; its licence
//! is in `NOTICE`). `setup/plurals.py` makes the table and describes its format.

use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::io::Read;

/// Maximum number of forms of a name of several words. Further forms are not searched for.
const MOST: usize = 64;

/// The known nouns.
pub struct Nouns {
    /// Noun -> irregular plurals and, after a `!`, forms that are nouns with another meaning.
    known: HashMap<String, Vec<String>>,
    /// Plural -> its nouns.
    nouns_of: HashMap<String, Vec<String>>,
}

impl Nouns {
    /// Unpacks the shipped table.
    pub fn new() -> Self {
        let mut text = String::new();
        let packed: &[u8] = include_bytes!("plurals.txt.gz");
        GzDecoder::new(packed).read_to_string(&mut text).expect("the shipped table is whole");
        let (mut known, mut nouns_of) = (HashMap::new(), HashMap::<String, Vec<String>>::new());
        for line in text.lines() {
            let mut fields = line.split('\t').map(String::from);
            let noun = fields.next().expect("a line holds a noun");
            let further: Vec<String> = fields.collect();
            for plural in plurals(&noun, &further, false) {
                nouns_of.entry(plural).or_default().push(noun.clone());
            }
            known.insert(noun, further);
        }
        Nouns { known, nouns_of }
    }

    /// The singular and plural forms of a name, itself first. Any of its words may change: men of
    /// war, women drivers.
    pub fn forms(&self, name: &[String]) -> Vec<Vec<String>> {
        let mut forms = vec![Vec::new()];
        // Starts from the end, where the plural usually is.
        for word in name.iter().rev() {
            let mut words = self.word(word, name.len() > 1);
            words.truncate((MOST / forms.len()).max(1));
            let before = |form: &Vec<String>, word: &String| [std::slice::from_ref(word), form].concat();
            forms = words.iter().flat_map(|word| forms.iter().map(move |form| before(form, word))).collect();
        }
        forms
    }

    /// A word in singular and plural, itself first. `within`: the word is one of several of a name;
    /// "wine glasses" is the plural of "wine glass" although "glasses" alone has another meaning.
    fn word(&self, word: &str, within: bool) -> Vec<String> {
        let mut forms = vec![word.to_string()];
        let (further, nouns) = (self.known.get(word), self.nouns_of.get(word));
        match further {
            Some(further) => forms.extend(plurals(word, further, within)),
            None if nouns.is_none() && !crate::eda::STOP_WORDS.contains(&word) => forms.extend(self.guess(word)),
            None => {}
        }
        for noun in nouns.into_iter().flatten() {
            forms.push(noun.clone());
            forms.extend(plurals(noun, &self.known[noun], false));
        }
        let mut met = std::collections::HashSet::new();
        forms.retain(|form| met.insert(form.clone()));
        forms
    }

    /// The forms of a word that WordNet lacks, such as a brand: the regular plural, and a singular
    /// if the word looks like a plural and removing its ending gives no other word.
    fn guess(&self, word: &str) -> Vec<String> {
        let stem = word.strip_suffix('s').filter(|stem| stem.chars().count() > 2 && !stem.ends_with(['s', 'u', 'i']));
        let singular = stem.filter(|stem| !self.known.contains_key(*stem)).map(String::from);
        regular(word).into_iter().chain(singular).collect()
    }
}

fn plurals(noun: &str, further: &[String], within: bool) -> Vec<String> {
    let another = |form: &String| !within && further.iter().any(|form_of| form_of.strip_prefix('!') == Some(form));
    let irregular = further.iter().filter(|form| !form.starts_with('!')).cloned();
    irregular.chain(regular(noun)).filter(|form| !another(form)).collect()
}

/// The regular plurals: more than one if the rule cannot tell which is right (monarchs, churches;
/// pianos, potatoes).
fn regular(noun: &str) -> Vec<String> {
    let vowel = |stem: &str| stem.is_empty() || stem.ends_with(['a', 'e', 'i', 'o', 'u']);
    if let Some(stem) = noun.strip_suffix('y').filter(|stem| !vowel(stem)) {
        return vec![format!("{stem}ies")];
    }
    if ["s", "x", "z", "sh"].iter().any(|end| noun.ends_with(end)) {
        return vec![format!("{noun}es")];
    }
    if noun.ends_with("ch") || noun.strip_suffix('o').is_some_and(|stem| !vowel(stem)) {
        return vec![format!("{noun}s"), format!("{noun}es")];
    }
    vec![format!("{noun}s")]
}

#[cfg(test)]
mod tests {
    use super::Nouns;

    #[test]
    fn plurals_are_looked_up_in_both_directions() {
        let nouns = Nouns::new();
        let pairs = "banana bananas, goose geese, knife knives, man men, bus buses, mouse mice, child children, person people, leaf leaves, \
                     wolf wolves, potato potatoes, church churches, monarch monarchs, fox foxes, berry berries, monkey monkeys, \
                     octopus octopuses, octopus octopi, fireman firemen, tooth teeth, ox oxen, sheep sheep, lens lenses, axe axes, axis axes, \
                     cactus cacti, bowl bowls, arm arms, boxer boxers, iphone iphones";
        for pair in pairs.split(", ") {
            let (one, many) = pair.split_once(' ').unwrap();
            assert!(nouns.word(one, false).contains(&many.to_string()), "{one} -> {many}");
            assert!(nouns.word(many, false).contains(&one.to_string()), "{many} -> {one}");
        }
        for pair in
            "glass glasses, sunglass sunglasses, short shorts, ga gas, colon cola, specie species, custom customs"
                .split(", ")
        {
            let (one, other) = pair.split_once(' ').unwrap();
            assert!(!nouns.word(one, false).contains(&other.to_string()), "{one} -> {other}");
            assert!(!nouns.word(other, false).contains(&one.to_string()), "{other} -> {one}");
        }
        for pair in "bus bu, lens len, moss mos, princess prince, princess princes, news new, chess ches, glasses glas, dress dres".split(", ") {
            let (word, cut) = pair.split_once(' ').unwrap();
            assert!(!nouns.word(word, false).contains(&cut.to_string()), "an s is not cut: {word} -> {cut}");
        }
    }

    #[test]
    fn any_word_of_a_name_may_change_and_wine_glasses_are_no_spectacles() {
        let nouns = Nouns::new();
        let forms = |name: &str| -> Vec<String> {
            nouns.forms(&crate::words(name)).iter().map(|form| form.join(" ")).collect()
        };
        assert_eq!(forms("wine glass")[0], "wine glass");
        assert!(forms("wine glass").contains(&"wine glasses".to_string()));
        assert!(!forms("dark glasses").contains(&"dark glass".to_string()));
        assert!(forms("man of war").contains(&"men of war".to_string()));
        assert!(forms("woman driver").contains(&"women drivers".to_string()));
        assert!(forms("a b c d e f g h i j k l m").len() <= super::MOST);
    }
}
