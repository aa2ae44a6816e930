//! Samples, grouped by webdataset's rule: neighbouring members that share their path up to the
//! first dot of the file name. If the rule is ambiguous, the sample is refused, because no caption
//! may be paired with the image of another sample.

use super::archive::{Met, Place, Span};
use crate::rows::{Loss, Why};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Extensions of the preferred images.
const FIRST: [&[u8]; 3] = [b"jpg", b"jpeg", b"png"];

/// Extensions of the other images that can be decoded.
const OTHERS: [&[u8]; 14] =
    [b"webp", b"gif", b"bmp", b"dib", b"tif", b"tiff", b"pnm", b"ppm", b"pgm", b"pbm", b"pam", b"jpe", b"jfif", b"jif"];

/// Maximum number of extensions in an error.
const NAMED: usize = 6;

/// Neighbouring members with one key.
#[derive(Debug)]
pub(super) struct Sample {
    /// The bytes of the name up to the first dot of the file name. As bytes, two keys that are not
    /// UTF-8 stay distinct.
    pub key: Vec<u8>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    /// The text after the first dot, in lower case.
    extension: Arc<[u8]>,
    place: Place,
}

/// The samples of a shard, built member by member.
#[derive(Default)]
pub(super) struct Samples {
    /// In the order of the shard.
    pub list: Vec<Sample>,
    /// Number of members without a key, and the name of the first.
    pub nameless: Option<(u64, String)>,
    /// An archive ended: the next member begins another sample, whatever its key.
    joined: bool,
    /// Interned, because few shards have more than a handful.
    extensions: HashSet<Arc<[u8]>>,
}

/// Why rows are lost together, and how many.
pub(super) type Lost = (Why, u64);

impl Samples {
    /// Adds the next member.
    pub fn meet(&mut self, met: Met) {
        match met {
            Met::Member(name, place) => self.add(name, place),
            Met::Joined => self.joined = true,
        }
    }

    fn add(&mut self, name: &[u8], place: Place) {
        let file_name = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let dot = name[file_name..].iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0);
        let Some(dot) = dot.map(|dot| file_name + dot) else {
            self.nameless.get_or_insert_with(|| (0, shown(name))).0 += 1;
            return;
        };
        let (key, extension) = (&name[..dot], name[dot + 1..].to_ascii_lowercase());
        if std::mem::take(&mut self.joined) || self.list.last().is_none_or(|last| last.key != key) {
            self.list.push(Sample { key: key.to_vec(), members: Vec::new() });
        }
        let extension = match self.extensions.get(extension.as_slice()) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<[u8]> = extension.into();
                self.extensions.insert(new.clone());
                new
            }
        };
        let sample = self.list.last_mut().expect("one was just pushed if there was none");
        sample.members.push(Member { extension, place });
    }

    /// Removes and returns the sample that was incomplete when its archive was cut.
    pub fn last(&mut self) -> Option<Sample> {
        if self.joined { None } else { self.list.pop() }
    }

    /// Samples whose key appears at several places of the shard, by number. Those in `whole` are
    /// separate rows.
    pub fn again(&self) -> Again {
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        order.sort_by_key(|&number| &self.list[number].key);
        let mut again = Again::default();
        for places in order.chunk_by(|a, b| self.list[*a].key == self.list[*b].key).filter(|places| places.len() > 1) {
            let samples = || places.iter().map(|&number| &self.list[number]);
            if samples().all(Sample::is_whole) {
                again.whole.push(places[0]);
            } else if !samples().any(|sample| sample.lost_to_dots().is_some()) {
                again.scattered.extend(places.iter().map(|&number| (number, None)));
                again.scattered.insert(places[0], Some(scattered(samples())));
            }
        }
        again.whole.sort_unstable();
        again
    }
}

/// Samples whose key appears at several places.
#[derive(Default)]
pub(super) struct Again {
    /// The first of each key whose samples are all whole.
    pub whole: Vec<usize>,
    /// Samples that are parts of one; the first of them carries the loss.
    pub scattered: HashMap<usize, Option<Lost>>,
}

fn scattered<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> Lost {
    let count = samples.clone().count();
    let places: Vec<String> = samples.clone().take(3).map(Sample::seen).collect();
    let more = if count > places.len() { ", .." } else { "" };
    let why = format!(
        "its members are at {count} places of the shard ({}{more}), and only neighbours are one sample (webdataset's rule): pack the shard with its \
         files sorted by name (`tar --sort=name`)",
        places.join("; then ")
    );
    let images = samples.filter(|sample| sample.images().next().is_some()).count();
    (Loss::ScatteredMembers.because(why), images.max(1) as u64)
}

impl Sample {
    /// The key in printable form.
    pub fn name(&self) -> String {
        shown(&self.key)
    }

    /// Its member with this extension.
    pub fn member(&self, extension: &str) -> Option<Place> {
        self.members.iter().find(|member| *member.extension == *extension.as_bytes()).map(|member| member.place)
    }

    /// Its image: the first `.jpg`, `.jpeg` or `.png`, else the first in another supported format.
    pub fn image(&self) -> Result<Span, Why> {
        let image = self.images().find(|member| FIRST.contains(&&*member.extension)).or_else(|| self.images().next());
        let Some(image) = image else {
            let why =
                format!("it has no image in a supported format (.jpg, .png, .webp, ..); its members: {}", self.seen());
            return Err(Loss::NoImage.because(why));
        };
        image.place.span(&image.extension).map_err(|why| Loss::UnreadableImage.because(why))
    }

    /// Number of images in it.
    pub fn image_count(&self) -> usize {
        self.images().count()
    }

    fn images(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| is_image(&member.extension))
    }

    /// Whether it may be a row: one image and one possible caption.
    fn is_whole(&self) -> bool {
        let caption = ["txt", "json"].iter().any(|extension| self.member(extension).is_some());
        caption && self.images().next().is_some() && self.repeated().is_none()
    }

    /// Its extensions, without repetition.
    pub fn seen(&self) -> String {
        let mut seen: Vec<&[u8]> = Vec::new();
        for member in &self.members {
            if seen.len() <= NAMED && !seen.contains(&&*member.extension) {
                seen.push(&member.extension);
            }
        }
        let more = if seen.len() > NAMED { ", .." } else { "" };
        let named: Vec<String> = seen.iter().take(NAMED).map(|extension| format!(".{}", shown(extension))).collect();
        named.join(", ") + more
    }

    /// The loss if an extension appears more than once. open_clip starts a new sample there, which
    /// pairs captions with wrong images if the members are sorted; webdataset raises an error.
    pub fn repeated(&self) -> Option<Lost> {
        let mut extensions: Vec<&[u8]> = self.members.iter().map(|member| &*member.extension).collect();
        extensions.sort_unstable();
        let most = extensions.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).filter(|same| same.len() > 1)?;
        let why = format!(
            "its key appears {} times in succession (.{} is repeated), so it is unknown which caption belongs to which image; give \
             each sample a key of its own",
            most.len(),
            shown(most[0])
        );
        let rows = self.lost_to_dots().map_or(0, |lost| lost.1).max(most.len() as u64);
        Some((Loss::RepeatedKey.because(why), rows))
    }

    /// The loss if names have a dot before the extension: their images are merged under one key.
    pub fn lost_to_dots(&self) -> Option<Lost> {
        let mut stems: BTreeMap<&[u8], [bool; 2]> = BTreeMap::new();
        let (mut dotted, mut first) = (0, None);
        for Member { extension, .. } in &self.members {
            let Some(dot) = extension.iter().rposition(|&byte| byte == b'.') else { continue };
            let last = &extension[dot + 1..];
            let stem = stems.entry(&extension[..dot]).or_default();
            *stem = [stem[0] || is_image(last), stem[1] || last == b"txt"];
            dotted += 1;
            first = first.or(is_image(last).then_some(extension));
        }
        // If the sample has an image, `.seg.png` is not a row; with a caption of the same name it
        // is one.
        let own = self.images().next().is_some();
        let rows = stems.values().filter(|[image, caption]| *image && (*caption || !own)).count() as u64;
        let (key, first) = (self.name(), shown(first.filter(|_| rows > 0)?));
        let more =
            if dotted > 1 { format!(" and {} more files are members", dotted - 1) } else { " is a member".into() };
        let why = format!(
            "a key ends at the first dot of a file's name (webdataset's rule), so `{key}.{first}`{more} of one sample `{key}`: leave no dot in a \
             name but the one before the extension (`{key}_{}`)",
            without_dots(&first)
        );
        Some((Loss::DottedName.because(why), rows))
    }
}

impl Place {
    /// The place of its bytes; the error says why they cannot be read.
    pub fn span(self, extension: &[u8]) -> Result<Span, String> {
        let (what, cure) = match self {
            Place::File(span) => return Ok(span),
            Place::Sparse => ("a sparse file", "pack the shard without `tar --sparse`"),
            Place::Link => ("a link to another file", "pack the shard with `tar --hard-dereference --dereference`"),
            Place::Special => ("not a regular file", "pack regular files"),
        };
        Err(format!("its member .{} is {what}, which cannot be read in place: {cure}", shown(extension)))
    }
}

fn is_image(extension: &[u8]) -> bool {
    FIRST.contains(&extension) || OTHERS.contains(&extension)
}

/// `0000.seg.png` as `0000_seg.png`.
fn without_dots(name: &str) -> String {
    name.rsplit_once('.').map_or(name.to_string(), |(stem, last)| format!("{}.{last}", stem.replace('.', "_")))
}

/// Bytes in printable form: bytes that are not UTF-8 as `\xE9`, with literal backslashes doubled so
/// that two names stay distinct, and control characters escaped because a terminal would obey them.
pub(super) fn shown(bytes: &[u8]) -> String {
    let whole = std::str::from_utf8(bytes).is_ok();
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter.is_control() || (letter == '\\' && !whole) {
                true => text.extend(letter.escape_default()),
                false => text.push(letter),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

/// A key as stored in the index: unchanged if it is UTF-8.
pub(super) fn kept(key: &[u8]) -> String {
    std::str::from_utf8(key).map_or_else(|_| shown(key), String::from)
}

/// Maximum length of a label: a longer text is not a number or a word, but some other file with
/// this extension.
const LABEL: usize = 1000;

/// The label in a `.cls`.
pub(super) fn cls(bytes: &[u8]) -> Result<Option<String>, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("the label in its .cls is not UTF-8: {error}"))?.trim();
    match text.len() {
        0 => Ok(None),
        length if length > LABEL => Err(format!("its .cls has {length} bytes, but a label has at most {LABEL}")),
        _ => Ok(Some(text.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn samples(names: &[&[u8]]) -> Samples {
        let mut samples = Samples::default();
        for name in names {
            let place = Place::File(Span { start: 0, size: 0 });
            samples.meet(if name.is_empty() { Met::Joined } else { Met::Member(name, place) });
        }
        samples
    }

    fn grouped(names: &[&str]) -> Vec<String> {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        samples(&names).list.iter().map(|sample| format!("{} {}", sample.name(), sample.seen())).collect()
    }

    #[test]
    fn members_group_by_path_up_to_the_first_dot_of_the_file_name() {
        let names = ["a.b/1.JPG", "a.b/1.seg.png", "a.b/1.txt", "2.png", "2.json", "a.b/._1.jpg", "plain"];
        assert_eq!(grouped(&names), ["a.b/1 .jpg, .seg.png, .txt", "2 .png, .json"]);
        assert_eq!(
            grouped(&["x.png", "x.txt", "", "x.png"]),
            ["x .png, .txt", "x .png"],
            "a joined archive begins a new sample"
        );
        let names: Vec<&[u8]> = vec![b"a.b/._1.jpg", b"1.png", b"plain"];
        assert_eq!(samples(&names).nameless, Some((2, "a.b/._1.jpg".to_string())));
    }

    #[test]
    fn keys_that_are_not_utf8_stay_apart_and_are_shown_escaped() {
        let samples = samples(&[b"a\xe9.png", b"a\xe8.txt", b"a\\xE9.png"]);
        let names: Vec<String> = samples.list.iter().map(Sample::name).collect();
        assert_eq!(names, ["a\\xE9", "a\\xE8", "a\\xE9"]);
        assert_eq!(shown(b"a\\\xe9"), "a\\\\\\xE9");
        assert_eq!((shown(b"a\x1b[31m\\"), kept(b"a\x1b")), ("a\\u{1b}[31m\\".to_string(), "a\x1b".to_string()));
        assert_eq!(samples.again().whole.len() + samples.again().scattered.len(), 0);
    }

    #[test]
    fn the_image_is_the_first_jpg_or_png_else_the_first_that_is_read() {
        let start = |names: &[&str]| {
            let mut samples = Samples::default();
            for (name, start) in names.iter().zip(0..) {
                samples.meet(Met::Member(name.as_bytes(), Place::File(Span { start, size: 1 })));
            }
            samples.list[0].image().map(|span| span.start).map_err(|why| why.text)
        };
        assert_eq!(start(&["x.webp", "x.png", "x.jpg", "x.txt"]), Ok(1));
        assert_eq!(start(&["x.txt", "x.seg.png", "x.TIFF", "x.webp"]), Ok(2));
        let why = start(&["x.txt", "x.avif"]).unwrap_err();
        assert!(why.contains("its members: .txt, .avif"), "{why}");
    }

    #[test]
    fn a_repeated_extension_refuses_all_of_its_key_and_dots_count_images() {
        let lost = |names: &[&[u8]], of: fn(&Sample) -> Option<Lost>| {
            of(&samples(names).list[0]).map(|(why, rows)| (why.kind, rows))
        };
        let twice: [&[u8]; 5] = [b"x.png", b"x.json", b"x.png", b"x.txt", b"x.json"];
        assert_eq!(lost(&twice, Sample::repeated), Some((Loss::RepeatedKey, 2)));
        assert_eq!(lost(&[b"x.PNG", b"x.png"], Sample::repeated), Some((Loss::RepeatedKey, 2)));
        assert_eq!(lost(&[b"x.png", b"x.seg.png", b"x.txt"], Sample::repeated), None);
        let dotted: [&[u8]; 5] = [b"v1.0.png", b"v1.0.txt", b"v1.1.png", b"v1.1.txt", b"v1.note.txt"];
        assert_eq!(lost(&dotted, Sample::lost_to_dots), Some((Loss::DottedName, 2)));
        assert_eq!(lost(&[b"x.png", b"x.seg.png", b"x.txt"], Sample::lost_to_dots), None);
        let rows: [&[u8]; 4] = [b"x.png", b"x.txt", b"x.1.png", b"x.1.txt"];
        assert_eq!(lost(&rows, Sample::lost_to_dots), Some((Loss::DottedName, 1)), "it has its own caption");
        let why = samples(&dotted).list[0].lost_to_dots().unwrap().0.text;
        assert!(why.contains("`v1.0.png` and 4 more files") && why.contains("`v1_0.png`"), "{why}");
    }

    #[test]
    fn members_that_do_not_lie_together_are_one_loss_each_and_whole_samples_of_one_key_are_rows() {
        let all = samples(&[b"a.jpg", b"b.jpg", b"c.jpg", b"c.txt", b"a.txt", b"b.txt", b"c.jpg", b"c.json"]);
        let again = all.again();
        assert_eq!(again.whole, [2]);
        let mut lost: Vec<_> =
            again.scattered.iter().map(|(at, lost)| (*at, lost.as_ref().map(|lost| lost.1))).collect();
        lost.sort_unstable();
        assert_eq!(lost, [(0, Some(1)), (1, Some(1)), (3, None), (4, None)]);
        let why = &again.scattered[&0].as_ref().unwrap().0.text;
        assert!(why.contains(".jpg; then .txt"), "{why}");
        let label = samples(&[b"a.jpg", b"a.txt", b"b.jpg", b"b.txt", b"a.json"]).again();
        assert_eq!(label.scattered.len(), 2, "its label is elsewhere");
        assert!(
            samples(&[b"v.0.jpg", b"w.0.jpg", b"v.1.jpg"]).again().scattered.is_empty(),
            "dots are reported as dots"
        );
    }
}
