//! Describes a file that is not a readable image: an unsupported format, by its name, or no image
//! at all. Downloads often leave web pages, pointers and empty files under names that end in
//! `.jpg`.

use image::ImageFormat;

/// Number of characters of a text in the message.
const SHOWN: usize = 60;

/// Describes bytes that do not begin like a supported image. `guess` is the format that image-rs
/// detects.
pub(super) fn what_it_is(bytes: &[u8], guess: Option<ImageFormat>) -> String {
    if bytes.is_empty() {
        return "the file is empty".into();
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return format!("it has {} bytes, and all of them are zero", bytes.len());
    }
    // The beginning is enough to recognise it, and a text may be long.
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let text = head.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        return "it is a pointer of git-lfs, not the image itself; `git lfs pull` gets that".into();
    }
    if let Some(name) = markup(text) {
        return name;
    }
    match infer::get(bytes) {
        Some(kind) if kind.mime_type().starts_with("image/") => not_read(&format_name(kind)),
        Some(kind) => format!("it is not an image but {} ({})", kind.extension().to_uppercase(), kind.mime_type()),
        None if bytes.starts_with(b"\xFF\x4F\xFF\x51") => not_read("JPEG 2000"),
        None if bytes.get(4..8) == Some(b"ftyp") => match bytes.get(8..12) {
            Some(b"mif1" | b"msf1") => not_read("HEIF"),
            _ => "it is not an image but a file of the MP4 family".into(),
        },
        None => match guess {
            Some(format) => not_read(format.extensions_str().first().unwrap_or(&"?").to_uppercase().as_str()),
            None => plain(bytes, text),
        },
    }
}

fn not_read(format: &str) -> String {
    format!("it is {format}, which is not supported; convert it to JPEG or PNG")
}

fn format_name(kind: infer::Type) -> String {
    match kind.mime_type() {
        "image/heif" => "HEIC (HEIF)".into(),
        "image/jp2" => "JPEG 2000".into(),
        "image/jxl" => "JPEG XL".into(),
        "image/vnd.ms-photo" => "JPEG XR".into(),
        _ => kind.extension().to_uppercase(),
    }
}

/// SVG, a web page, or other markup; SVG may come after a declaration and comments.
fn markup(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let page = ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| lower.starts_with(tag));
    match lower.starts_with('<') {
        true if page => Some("it is a web page (HTML), not an image".into()),
        true if lower.contains("<svg") => Some(not_read("SVG")),
        true if lower.contains("<html") => Some("it is a web page (HTML), not an image".into()),
        true if lower.starts_with("<?xml") => Some("it is XML, not an image".into()),
        _ => None,
    }
}

/// Text without markup, such as a server's message; otherwise the first bytes.
fn plain(bytes: &[u8], text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).collect();
    if !shown.is_empty() && shown.chars().all(|c| c != '\u{FFFD}' && (!c.is_control() || c.is_whitespace())) {
        return format!("it is text, not an image: it begins with `{}`", shown.escape_debug());
    }
    format!("it is not an image in a known format: it begins with {:02x?}", &bytes[..bytes.len().min(8)])
}

#[cfg(test)]
mod tests {
    use crate::decode::image;

    #[test]
    fn what_is_not_read_is_refused_by_its_name() {
        let brand =
            |brand: &[u8; 4]| [b"\0\0\0\x20ftyp", &brand[..], b"\0\0\0\0", b"mif1miaf", brand, b"\0\0\0\0"].concat();
        let cases: [(Vec<u8>, &str); 21] = [
            (brand(b"avif"), "it is AVIF, which is not supported; convert it"),
            (brand(b"avis"), "it is AVIF"),
            (brand(b"heic"), "it is HEIC"),
            (brand(b"mif1"), "it is HEIF"),
            (brand(b"xxxx"), "MP4 family"),
            (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 ".to_vec(), "it is JPEG 2000"),
            (b"\xFF\x4F\xFF\x51\0\x29\0\0\0\0\0\x40\0\0\0\x40".to_vec(), "it is JPEG 2000"),
            (b"\xFF\x0A\xFA\x1F\x01\x90\x08".to_vec(), "it is JPEG XL"),
            (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ".to_vec(), "it is JPEG XL"),
            (
                b"<?xml version=\"1.0\"?>\n<!-- drawn -->\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(),
                "it is SVG",
            ),
            (b"\xEF\xBB\xBF \n<svg/>".to_vec(), "it is SVG"),
            (b"%PDF-1.7\n%\xE2\xE3".to_vec(), "it is not an image but PDF"),
            (b"\n<!DOCTYPE html>\n<html lang=\"en\"><svg></svg>".to_vec(), "a web page (HTML)"),
            (b"<HTML><body>404</body>".to_vec(), "a web page (HTML)"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(), "it is XML"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n".to_vec(), "git lfs pull"),
            (b"{\"error\": \"not found\x1b[31m\"}".to_vec(), "begins with [7b"),
            (b"Forbidden\r\n".to_vec(), "it is text, not an image: it begins with `Forbidden"),
            (b"qoif\0\0\0\x04\0\0\0\x04\x04\0".to_vec(), "it is QOI"),
            (b"".to_vec(), "empty"),
            (vec![0; 5000], "5000 bytes, and all of them are zero"),
        ];
        for (bytes, why) in cases {
            let message = image(&bytes, 8).err().unwrap_or_default();
            assert!(message.contains(why), "`{message}` should say `{why}`");
        }
    }
}
