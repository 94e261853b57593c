//! One DNS message, read from its bytes: header, questions, and the answers that name addresses.
//!
//! Header, names and the data of records are decoded by hickory-proto. Its `Message::from_vec()` is not used, because
//! it is made for a client that may refuse: one record that it cannot decode (an ALPN that is not UTF-8, a client
//! subnet of an unknown family, a second OPT, an empty record) and there is no message at all, bytes after the last
//! record go unnoticed, and a message that was cut on its way to us gives nothing. An observer wants to know how the
//! lookup ended in any case. So the sections are walked here, a record at a time:
//!
//! - Without a header and whole questions there is no message: [`parse`] gives the reason as its error.
//! - A record whose data cannot be decoded becomes [`RecordData::Other`], the reason goes to [`Message::defect`],
//!   and the walk goes on after it, since its length is known.
//! - A record whose name or length cannot be read ends the walk; what was read before it stands.
//! - Data of other types than A, AAAA, CNAME, HTTPS and SVCB is stepped over, as are EDNS options.
//! - Where bytes end because the probe copied no more, [`Message::cut`] is set and nothing is called a defect.
//!
//! Strict all the same, by hickory's name decoder: labels of 63 and names of 255 bytes at most, and compression
//! pointers that point strictly backwards, so no loop is followed.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::op::Header;
use hickory_proto::rr::rdata::svcb::{SVCB, SvcParamValue};
use hickory_proto::rr::{Name, RData};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError, Restrict};

use crate::codes::{RecordType, ResponseCode};

/// Class IN, RFC 1035, section 3.2.4.
pub const CLASS_IN: u16 = 1;

/// The top bit of a class belongs to multicast DNS: in a question it asks for a response by unicast, in a record it
/// says that older ones are void (RFC 6762, sections 5.4 and 10.2). No class in use has it.
const MDNS_BIT: u16 = 0x8000;

/// A message cannot be longer: TCP has two bytes for its length, UDP a little less (RFC 1035, section 4.2).
pub const MAX_LENGTH: usize = 65_535;

/// The shortest message, a header alone.
pub const HEADER_LENGTH: usize = 12;

/// Why something is not, or not in all its parts, a DNS message. The [words](Malformed::as_str) are values of an
/// attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// Fewer bytes than a header has.
    TooShort,
    /// More bytes than a message can have.
    TooLong,
    /// The message ends within its questions.
    TruncatedQuestion,
    /// The message ends within a record, or has fewer records than its header says.
    TruncatedRecord,
    /// A label of a kind that does not exist (RFC 1035, section 4.1.4, reserves two of four).
    BadLabel,
    /// A name of more than 255 bytes.
    NameTooLong,
    /// A compression pointer that does not point to an earlier name.
    CompressionLoop,
    /// The data of a record is not what its type asks for.
    BadRecord,
    /// An OPT record that has a name, or is not the only one (RFC 6891, section 6.1.1).
    BadEdns,
    /// Bytes after the last record.
    TrailingBytes,
}

impl Malformed {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::TooShort,
        Self::TooLong,
        Self::TruncatedQuestion,
        Self::TruncatedRecord,
        Self::BadLabel,
        Self::NameTooLong,
        Self::CompressionLoop,
        Self::BadRecord,
        Self::BadEdns,
        Self::TrailingBytes,
    ];

    /// The reason as the value of an attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::TruncatedQuestion => "truncated_question",
            Self::TruncatedRecord => "truncated_record",
            Self::BadLabel => "bad_label",
            Self::NameTooLong => "name_too_long",
            Self::CompressionLoop => "compression_loop",
            Self::BadRecord => "bad_record",
            Self::BadEdns => "bad_edns",
            Self::TrailingBytes => "trailing_bytes",
        }
    }
}

/// What a message says.
///
/// Names are in lower case, without the final dot, `.` for the root. A byte of a label that is not a printable ASCII
/// character stands as `\DDD`, a dot or a backslash within a label as `\.` and `\\` (RFC 1035, section 5.1), so
/// different names have different texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Joins a response with its query.
    pub id: u16,
    /// Response or query.
    pub is_response: bool,
    /// What is wanted: 0 is QUERY, the only one whose sections are read. Others (NOTIFY, UPDATE, stateful
    /// operations) give these sections another meaning.
    pub opcode: u8,
    /// AA: the server speaks for the zone.
    pub authoritative: bool,
    /// TC: the server had more to say than fitted. Most clients ask again by TCP.
    pub truncated: bool,
    /// RD: the client wants the server to ask others.
    pub recursion_desired: bool,
    /// RA: the server would ask others.
    pub recursion_available: bool,
    /// What the server says of the query, with the upper bits from EDNS; NOERROR in queries.
    pub code: ResponseCode,
    /// What was asked. One in almost all messages; several, or none in a response, in multicast DNS.
    pub questions: Vec<Question>,
    /// The answer section, as far as it could be read.
    pub answers: Vec<Answer>,
    /// The bytes ended before the message did, because no more of it were copied.
    pub cut: bool,
    /// What is wrong with the message after its questions; of several, the first.
    pub defect: Option<Malformed>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// The name, in the form that [`Message`] describes.
    pub name: Arc<str>,
    /// The type of the records wanted.
    pub record_type: RecordType,
    /// The class of the records wanted, without multicast DNS's bit. [`CLASS_IN`] but for curiosities.
    pub class: u16,
}

/// A record of the answer section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The name that it is a record of.
    pub name: Arc<str>,
    /// How long it may be kept, in seconds. Values above 2³¹ - 1 are 0 (RFC 2181, section 8).
    pub ttl: u32,
    /// Its data.
    pub data: RecordData,
}

/// The data of a record, as far as it names addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name, which the records are found under.
    Cname(Arc<str>),
    /// A service binding.
    Service(ServiceBinding),
    /// Data that is not read: a record of another type, of another class than IN, or one that is malformed.
    Other(RecordType),
}

impl RecordData {
    /// The type of the record.
    #[must_use]
    pub fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
            Self::Cname(_) => RecordType::CNAME,
            Self::Service(binding) => binding.record_type,
            Self::Other(record_type) => *record_type,
        }
    }
}

/// An HTTPS or SVCB record (RFC 9460).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBinding {
    /// HTTPS or SVCB.
    pub record_type: RecordType,
    /// 0 for an alias, whose parameters mean nothing; else its rank, lower first.
    pub priority: u16,
    /// Who offers the service; `.` in a record that is not an alias stands for the record's own name.
    pub target: Arc<str>,
    /// `ipv4hint`: where to connect before the target's addresses are known.
    pub ipv4_hints: Vec<Ipv4Addr>,
    /// `ipv6hint`, likewise.
    pub ipv6_hints: Vec<Ipv6Addr>,
}

/// Reads a whole message.
///
/// # Errors
///
/// Why there is no header, or no questions where the header says that there are.
pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    parse_captured(bytes, bytes.len())
}

/// Reads the first `bytes` of a message that was `length` bytes long when it was observed.
///
/// # Errors
///
/// As [`parse`]; a message that was cut within its questions has those before the cut.
pub fn parse_captured(bytes: &[u8], length: usize) -> Result<Message, Malformed> {
    if length > MAX_LENGTH || bytes.len() > MAX_LENGTH {
        return Err(Malformed::TooLong);
    }
    let mut walk =
        Walk { decoder: BinDecoder::new(bytes), cut: length > bytes.len(), text: String::new(), named: None };
    let header = Header::read(&mut walk.decoder).map_err(|_| Malformed::TooShort)?;
    let mut message = Message {
        id: header.id,
        is_response: bytes[2] & 0x80 != 0,
        opcode: bytes[2] >> 3 & 0x0f,
        authoritative: header.authoritative,
        truncated: header.truncation,
        recursion_desired: header.recursion_desired,
        recursion_available: header.recursion_available,
        code: ResponseCode(u16::from(header.response_code.low())),
        questions: Vec::new(),
        answers: Vec::new(),
        cut: walk.cut,
        defect: None,
    };
    if message.opcode != 0 {
        return Ok(message);
    }
    for _ in 0..header.counts.queries {
        match walk.question() {
            Ok(question) => message.questions.push(question),
            Err(Stop::Cut) => return Ok(message),
            Err(Stop::Malformed(reason)) => return Err(reason),
        }
    }
    if let Err(Stop::Malformed(reason)) = walk.records(&header, &mut message) {
        message.defect.get_or_insert(reason);
    }
    Ok(message)
}

/// Why the walk over a message ends early.
enum Stop {
    /// No more was copied.
    Cut,
    Malformed(Malformed),
}

struct Walk<'a> {
    decoder: BinDecoder<'a>,
    cut: bool,
    /// Room for a name.
    text: String,
    /// The name before: most records of a response have the same.
    named: Option<Arc<str>>,
}

/// A record without its data.
struct Frame {
    name: Name,
    record_type: RecordType,
    class: u16,
    ttl: u32,
    data_length: u16,
    /// Where the record ends, from the start of the message.
    end: u16,
}

impl Walk<'_> {
    fn question(&mut self) -> Result<Question, Stop> {
        let name = Name::read(&mut self.decoder).map_err(|e| self.stop(&e, Malformed::TruncatedQuestion))?;
        let record_type = self.number(Malformed::TruncatedQuestion)?;
        let class = self.number(Malformed::TruncatedQuestion)?;
        Ok(Question {
            name: self.text(&name),
            record_type: RecordType(record_type),
            class: class & !MDNS_BIT,
        })
    }

    /// All sections after the questions.
    fn records(&mut self, header: &Header, message: &mut Message) -> Result<(), Stop> {
        for _ in 0..header.counts.answers {
            let frame = self.frame()?;
            let data = match self.data(&frame) {
                Ok(data) => data,
                Err(reason) => {
                    message.defect.get_or_insert(reason);
                    RecordData::Other(frame.record_type)
                }
            };
            let ttl = if frame.ttl > i32::MAX.unsigned_abs() { 0 } else { frame.ttl };
            let name = self.text(&frame.name);
            message.answers.push(Answer { name, ttl, data });
            self.go_to(frame.end);
        }
        for _ in 0..header.counts.authorities {
            let frame = self.frame()?;
            self.go_to(frame.end);
        }
        let mut edns = false;
        for _ in 0..header.counts.additionals {
            let frame = self.frame()?;
            if frame.record_type == RecordType::OPT {
                if edns || !frame.name.is_root() {
                    message.defect.get_or_insert(Malformed::BadEdns);
                } else {
                    edns = true;
                    let upper = u16::from(frame.ttl.to_be_bytes()[0]);
                    message.code = ResponseCode(upper << 4 | message.code.0);
                }
            }
            self.go_to(frame.end);
        }
        if self.cut || self.decoder.is_empty() {
            Ok(())
        } else {
            Err(Stop::Malformed(Malformed::TrailingBytes))
        }
    }

    fn frame(&mut self) -> Result<Frame, Stop> {
        const SHORT: Malformed = Malformed::TruncatedRecord;
        let name = Name::read(&mut self.decoder).map_err(|e| self.stop(&e, SHORT))?;
        let record_type = RecordType(self.number(SHORT)?);
        let class = self.number(SHORT)?;
        let ttl = self.decoder.read_u32().map_err(|e| self.stop(&e, SHORT))?.unverified();
        let data_length = self.number(SHORT)?;
        let end = self.decoder.index() + usize::from(data_length);
        if usize::from(data_length) > self.decoder.len() {
            return Err(self.stop(&DecodeError::InsufficientBytes, SHORT));
        }
        let end = u16::try_from(end).map_err(|_| Stop::Malformed(Malformed::TooLong))?;
        Ok(Frame { name, record_type, class, ttl, data_length, end })
    }

    fn data(&mut self, frame: &Frame) -> Result<RecordData, Malformed> {
        let read = frame.class & !MDNS_BIT == CLASS_IN
            && matches!(
                frame.record_type,
                RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::HTTPS | RecordType::SVCB
            );
        if !read {
            return Ok(RecordData::Other(frame.record_type));
        }
        let length = Restrict::new(frame.data_length);
        let data = RData::read(&mut self.decoder, frame.record_type.0.into(), length)
            .map_err(|e| reason(&e, Malformed::BadRecord))?;
        if self.decoder.index() != usize::from(frame.end) {
            return Err(Malformed::BadRecord);
        }
        Ok(match data {
            RData::A(address) => RecordData::A(address.0),
            RData::AAAA(address) => RecordData::Aaaa(address.0),
            RData::CNAME(name) => RecordData::Cname(text(&name.0)),
            RData::HTTPS(binding) => service(frame.record_type, &binding.0),
            RData::SVCB(binding) => service(frame.record_type, &binding),
            _ => RecordData::Other(frame.record_type),
        })
    }

    /// A name in the form that [`Message`] describes.
    fn text(&mut self, name: &Name) -> Arc<str> {
        self.text.clear();
        write_name(&mut self.text, name);
        match &self.named {
            Some(named) if **named == *self.text => Arc::clone(named),
            _ => Arc::clone(self.named.insert(self.text.as_str().into())),
        }
    }

    fn number(&mut self, short: Malformed) -> Result<u16, Stop> {
        self.decoder.read_u16().map(Restrict::unverified).map_err(|e| self.stop(&e, short))
    }

    fn go_to(&mut self, index: u16) {
        self.decoder = self.decoder.clone(index);
    }

    fn stop(&self, error: &DecodeError, short: Malformed) -> Stop {
        match error {
            DecodeError::InsufficientBytes if self.cut => Stop::Cut,
            error => Stop::Malformed(reason(error, short)),
        }
    }
}

/// What hickory's errors mean here; `other` where they say that bytes are missing or that data is not well formed.
fn reason(error: &DecodeError, other: Malformed) -> Malformed {
    match error {
        DecodeError::PointerNotPriorToLabel { .. } | DecodeError::LabelOverlapsWithOther { .. } => {
            Malformed::CompressionLoop
        }
        DecodeError::LabelBytesTooLong(_) | DecodeError::UnrecognizedLabelCode(_) => Malformed::BadLabel,
        DecodeError::DomainNameTooLong(_) => Malformed::NameTooLong,
        _ => other,
    }
}

fn service(record_type: RecordType, record: &SVCB) -> RecordData {
    let mut binding = ServiceBinding {
        record_type,
        priority: record.svc_priority,
        target: text(&record.target_name),
        ipv4_hints: Vec::new(),
        ipv6_hints: Vec::new(),
    };
    for (_, value) in &record.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(hints) => binding.ipv4_hints.extend(hints.0.iter().map(|a| a.0)),
            SvcParamValue::Ipv6Hint(hints) => binding.ipv6_hints.extend(hints.0.iter().map(|a| a.0)),
            _ => {}
        }
    }
    RecordData::Service(binding)
}

/// A name in the form that [`Message`] describes.
fn text(name: &Name) -> Arc<str> {
    let mut text = String::new();
    write_name(&mut text, name);
    text.into()
}

fn write_name(text: &mut String, name: &Name) {
    text.reserve(name.len());
    for label in name {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(byte));
                }
                b'!'..=b'~' => text.push(char::from(byte.to_ascii_lowercase())),
                _ => write!(text, "\\{byte:03}").expect("a string takes everything"),
            }
        }
    }
    if text.is_empty() {
        text.push('.');
    }
}

#[cfg(test)]
mod tests;
