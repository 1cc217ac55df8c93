//! Records of the most hostile messages over TCP are bounded, valid, and say what they leave out.

use super::*;
use crate::record::RecordLimits;
use dnscribe_dns::rtype::{CNAME, OPT};
use dnscribe_record::json_schema;
use std::iter;

/// Most bytes of a message over TCP (RFC 1035, 4.2.2).
const MESSAGE_BYTES: usize = 65_535;
const HEADER_BYTES: usize = 12;
/// A compressed name that points to the question's.
const POINTER: [u8; 2] = [0xC0, 12];
const RESPONSE: u16 = 0x8000;

/// A name of 251 bytes, each of which is escaped.
fn escaped_name() -> Vec<u8> {
    let label = |length: u8| iter::once(length).chain(iter::repeat_n(0xFF, length.into()));
    [63, 63, 63, 57].into_iter().flat_map(label).chain([0]).collect()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn record(rtype: u16, class: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&POINTER[..], &words(&[rtype, class, 0, 60, length]), data].concat()
}

/// As many copies of `part` as fit into `room` bytes, and their number.
fn repeated(part: &[u8], room: usize) -> (Vec<u8>, u16) {
    let count = room / part.len();
    (part.repeat(count), u16::try_from(count).unwrap())
}

/// A message with the escaped name as its question, and the rest of its bytes filled.
fn message(flags: u16, fill: impl FnOnce(usize) -> ([u16; 4], Vec<u8>)) -> Vec<u8> {
    let question = [escaped_name(), words(&[1, 1])].concat();
    let (counts, rest) = fill(MESSAGE_BYTES - HEADER_BYTES - question.len());
    [words(&[7, flags]), words(&counts), question, rest].concat()
}

/// A response with as many of these records as fit.
fn response_of(record: &[u8]) -> Vec<u8> {
    message(RESPONSE, |room| {
        let (records, count) = repeated(record, room);
        ([1, count, 0, 0], records)
    })
}

/// A response with one record that fills it, the data of which is made of `part`.
fn response_with(rtype: u16, head: &[u8], part: &[u8]) -> Vec<u8> {
    message(RESPONSE, |room| {
        let (parts, _) = repeated(part, room - 12 - head.len());
        ([1, 1, 0, 0], record(rtype, 1, &[head, &parts].concat()))
    })
}

/// A message with EDNS options made of `part` (code, length, data) that fill it.
fn with_options(flags: u16, part: &[u8]) -> Vec<u8> {
    message(flags, |room| {
        let (options, _) = repeated(part, room - 11);
        let length = u16::try_from(options.len()).unwrap();
        ([1, 0, 0, 1], [&[0][..], &words(&[OPT, 1232, 0, 0, length]), &options].concat())
    })
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [words(&[code, u16::try_from(data.len()).unwrap()]), data.to_vec()].concat()
}

/// The exact message of a review: CNAME records to one escaped name.
fn cnames() -> Vec<u8> {
    response_of(&record(CNAME, 1, &POINTER))
}

/// The most hostile message of each kind.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let window: Vec<u8> = [1, 32].into_iter().chain([0xFF; 32]).collect();
    let soa = [&POINTER[..], &POINTER, &[0; 20]].concat();
    let long = |code, byte| option(code, &vec![byte; 60_000]);
    vec![
        ("CNAME", cnames()),
        ("SOA", response_of(&record(6, 1, &soa))),
        ("A", response_of(&record(1, 1, &[192, 0, 2, 1]))),
        ("NSEC", response_with(47, &escaped_name(), &window)),
        ("CSYNC", response_with(62, &[0; 6], &window)),
        ("TXT of quotes", response_with(16, &[], &[1, b'"'])),
        ("TXT of bytes", response_with(16, &[], &[&[255][..], &[0xFF; 255]].concat())),
        ("HTTPS", response_with(65, &[&[0, 1][..], &POINTER].concat(), &[0, 1, 0, 2, 1, b'\\'])),
        ("unknown type", response_with(65_280, &[], &[0xFF])),
        (
            "UPDATE",
            message(5 << 11, |room| {
                let (records, count) = repeated(&record(255, 255, &[]), room);
                ([1, count, 0, 0], records)
            }),
        ),
        (
            "questions",
            message(RESPONSE, |room| {
                let (questions, count) = repeated(&[&POINTER[..], &words(&[1, 1])].concat(), room);
                ([count + 1, 0, 0, 0], questions)
            }),
        ),
        ("options", with_options(RESPONSE, &option(65_001, &[]))),
        ("EDE of controls", with_options(RESPONSE, &long(15, 1))),
        ("EDE of invalid UTF-8", with_options(RESPONSE, &long(15, 0xFF))),
        ("NSID", with_options(RESPONSE, &long(3, 0xFF))),
        ("cookie of a query", with_options(0, &long(10, 0xFF))),
        (
            "many subnets",
            with_options(
                RESPONSE,
                &option(8, &[0, 2, 128, 0].iter().chain(&[0xFD; 16]).copied().collect::<Vec<_>>()),
            ),
        ),
    ]
}

/// The records of a query and of `message`, both over TCP, and the pipeline's page of metrics.
fn records_of(message: &[u8], limits: RecordLimits, wire: bool) -> (Vec<Vec<u8>>, String) {
    let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
    let (mut pipeline, kept) = output_of(RecordBuilder { limits, wire, unicode: true, ..identity });
    let mut flow = pipeline.flow_stage(FlowOptions::default());
    let is_response = message[2] & 0x80 != 0;
    let (from, to) = if is_response { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    let query = self::message(0, |_| ([1, 0, 0, 0], Vec::new()));
    let mut pool = if is_response { stream(CLIENT, SERVER, &[query], 1400) } else { Vec::new() };
    pool.extend(stream(from, to, &[message.to_vec()], 1400));
    let steps: Vec<Step> = (0..pool.len()).map(|which| (which, None, 0)).collect();
    for packet in packets(&pool, &steps) {
        flow.observe(&packet, &mut pipeline);
    }
    flow.finish(EPOCH, &mut pipeline);
    pipeline.finish(EPOCH);
    let counters = input(steps.len() as u64, vec![flow.counters(&[])]);
    let page = pipeline.exposition(&counters, None).into_text();
    let lines = kept.lock().unwrap().clone();
    (
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(Into::into)
            .collect(),
        page,
    )
}

fn omitted(record: &Value) -> u64 {
    let lists = ["answers_omitted", "questions_omitted"];
    let own: u64 = lists.iter().filter_map(|field| record[field].as_u64()).sum();
    own + record["edns"]["options_omitted"].as_u64().unwrap_or(0)
}

/// Checks the records of a message, and returns the number of those that leave something out.
fn check(name: &str, message: &[u8], limits: RecordLimits, wire: bool) -> usize {
    assert!(message.len() <= MESSAGE_BYTES, "{name}");
    let (records, page) = records_of(message, limits, wire);
    let mut shortened = [0, 0];
    for line in &records {
        assert!(line.len() <= limits.bytes, "{name}: {} bytes", line.len());
        let record: Value = serde_json::from_slice(line).unwrap();
        let schema = record["schema"].as_str().unwrap();
        assert!(jsonschema::is_valid(&json_schema(schema).unwrap(), &record), "{name}");
        let listed = record["answers"].as_array().map_or(0, Vec::len) as u64;
        assert!(listed <= limits.answers as u64, "{name}");
        if let Some(left_out) = record["answers_omitted"].as_u64() {
            assert_eq!(
                record["answer_count"].as_u64().unwrap_or(listed + left_out),
                listed + left_out
            );
        }
        let kind = usize::from(schema == "dns.transaction/1");
        shortened[kind] += usize::from(omitted(&record) > 0);
    }
    assert!(!records.is_empty(), "{name}");
    for (stream, count) in ["messages", "transactions"].into_iter().zip(shortened) {
        let counted = format!("dnscribe_records_shortened_total{{stream=\"{stream}\"}} {count}\n");
        assert!(page.contains(&counted), "{name}: {counted}{page}");
    }
    shortened.iter().sum()
}

#[test]
fn records_of_hostile_messages_are_bounded() {
    for (name, message) in hostile() {
        for limits in [
            RecordLimits::default(),
            RecordLimits { answers: usize::MAX, bytes: RecordLimits::MIN_BYTES },
        ] {
            for wire in [false, true] {
                check(name, &message, limits, wire);
            }
        }
    }
}

/// What is usual is whole: also a message of 64 KiB that is mostly text, and answers with many addresses.
#[test]
fn usual_records_are_whole() {
    let text = response_with(16, &[], &[&[255][..], &[b'x'; 255]].concat());
    let addresses =
        message(RESPONSE, |_| ([1, 1000, 0, 0], record(1, 1, &[192, 0, 2, 1]).repeat(1000)));
    // With the usual short name instead of the escaped one.
    let name = escaped_name().len();
    let short = |message: &[u8]| {
        let (head, rest) = message.split_at(HEADER_BYTES);
        [head, b"\x03www\x07example\0", &rest[name..]].concat()
    };
    for (name, message) in [("text", text), ("addresses", short(&addresses))] {
        assert_eq!(check(name, &message, RecordLimits::default(), true), 0, "{name}");
    }
}

/// CNAME records to one escaped name are some 12 MB as text.
#[test]
fn leaves_out_and_counts_answers() {
    let message = cnames();
    let (records, _) = records_of(&message, RecordLimits::default(), false);
    let all = u64::from(u16::from_be_bytes([message[6], message[7]]));
    assert!(all > 4600);
    let records: Vec<Value> =
        records.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    let shortened: Vec<_> = records.iter().filter(|record| omitted(record) > 0).collect();
    assert_eq!(shortened.len(), 2, "of the message and of the transaction");
    for record in shortened {
        let answers = record["answers"].as_array().unwrap();
        assert!(!answers.is_empty());
        assert_eq!(answers.len() as u64 + omitted(record), all);
        assert_eq!(record["answer_count"], all);
    }
}

/// Part of a message: how it is made, and of which bytes.
type Part = (u8, u16, Vec<u8>);

fn mixed(parts: &[Part], flags: u16) -> Vec<u8> {
    let mut counts = [1, 0, 0, 0];
    let [mut answers, mut options] = [Vec::new(), Vec::new()];
    let room = MESSAGE_BYTES - HEADER_BYTES - escaped_name().len() - 4 - 11;
    for (kind, number, data) in parts {
        let fits = |more: usize, answers: &[u8], options: &[u8]| {
            answers.len() + options.len() + more <= room
        };
        let part = if *kind == 0 { option(*number, data) } else { record(*number, 1, data) };
        let copies = usize::from(*kind).pow(4);
        for _ in 0..copies.max(1) {
            if !fits(part.len(), &answers, &options) {
                break;
            }
            if *kind == 0 {
                options.extend_from_slice(&part);
            } else {
                answers.extend_from_slice(&part);
                counts[1] += 1;
            }
        }
    }
    counts[3] = 1;
    let length = u16::try_from(options.len()).unwrap();
    let opt = [&[0][..], &words(&[OPT, 1232, 0, 0, length]), &options].concat();
    message(flags, |_| (counts, [answers, opt].concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn records_of_any_message_are_bounded(
        parts in prop::collection::vec(
            (
                0..9_u8,
                prop_oneof![1..70_u16, Just(15), Just(3), Just(10), any::<u16>()],
                prop_oneof![
                    Just(POINTER.to_vec()),
                    prop::collection::vec(prop_oneof![Just(0xFF), Just(0xC0), Just(12), any::<u8>()], 0..300),
                    (0..2000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
                ],
            ),
            0..12,
        ),
        flags in prop_oneof![Just(RESPONSE), Just(0), Just(5 << 11), any::<u16>()],
        wire in any::<bool>(),
    ) {
        let message = mixed(&parts, flags);
        check("mixed", &message, RecordLimits { answers: usize::MAX, ..RecordLimits::default() }, wire);
    }
}
