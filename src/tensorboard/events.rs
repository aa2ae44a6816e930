//! Event files: TFRecord frames (length, its checksum, a protocol buffer, its checksum), each an
//! `Event` with scalars. Fields and their numbers are those of TensorFlow's `event.proto` and
//! `summary.proto`; the framing is that of `record_writer.cc`. `tests/golden/event_files.py` reads
//! such files with TensorBoard itself.

use prost::Message;

/// An event file that is being written.
pub struct Events {
    /// Its content so far.
    pub bytes: Vec<u8>,
    wall_time: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    // Optional, so that a value of 0 is written, too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

impl Events {
    /// A file whose events all have this time, in seconds since 1970.
    pub fn new(wall_time: f64) -> Events {
        let mut events = Events { bytes: Vec::new(), wall_time };
        events.push(Event { wall_time, step: 0, file_version: Some("brain.Event:2".into()), summary: None });
        events
    }

    /// Adds the values of some scalars at a step.
    pub fn add(&mut self, step: u64, values: &[(String, f64)]) {
        let scalar = |(tag, value): &(String, f64)| Scalar { tag: tag.clone(), simple_value: Some(*value as f32) };
        let summary = Some(Summary { value: values.iter().map(scalar).collect() });
        self.push(Event { wall_time: self.wall_time, step: step as i64, file_version: None, summary });
    }

    fn push(&mut self, event: Event) {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        for part in [&length[..], &data] {
            self.bytes.extend(part);
            self.bytes.extend(masked(part).to_le_bytes());
        }
    }
}

/// TFRecord's checksum: CRC-32C, rotated and shifted, because a checksum of data that contain their
/// own checksum is weak.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Step, name and value of every scalar of a file; its checksums must be right.
#[cfg(test)]
pub fn read(mut bytes: &[u8]) -> Vec<(i64, String, f32)> {
    let mut frame = |length: usize| {
        let (part, rest) = bytes.split_at(length);
        let (sum, rest) = rest.split_at(4);
        assert_eq!(sum, masked(part).to_le_bytes(), "checksum");
        bytes = rest;
        (part, rest.is_empty())
    };
    let (mut scalars, mut ended) = (Vec::new(), false);
    while !ended {
        let length = u64::from_le_bytes(frame(8).0.try_into().unwrap());
        let (data, last) = frame(length as usize);
        let event = Event::decode(data).unwrap();
        let values = event.summary.map(|summary| summary.value).unwrap_or_default();
        scalars.extend(values.into_iter().map(|scalar| (event.step, scalar.tag, scalar.simple_value.unwrap())));
        ended = last;
    }
    scalars
}

#[cfg(test)]
mod tests {
    use super::{Events, masked, read};

    #[test]
    fn frames_are_those_of_tensorflow() {
        // The first record of every file, at second 1.5, as TensorBoard 2.21's `RecordWriter`
        // writes it.
        let golden = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c";
        let hex: String = Events::new(1.5).bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(
            masked(b"123456789"),
            0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8),
            "RFC 3720's check value"
        );
    }

    #[test]
    fn what_is_written_is_read_back_and_a_turned_bit_is_found() {
        let mut events = Events::new(1.5);
        events.add(3, &[("train/loss".into(), 0.0), ("scores/top1".into(), 0.75)]);
        assert_eq!(read(&events.bytes), [(3, "train/loss".to_string(), 0.0), (3, "scores/top1".to_string(), 0.75)]);
        let last = events.bytes.len() - 6;
        events.bytes[last] ^= 1;
        std::panic::catch_unwind(|| read(&events.bytes)).unwrap_err();
    }
}
