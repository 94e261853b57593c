//! Fields of protobuf messages, one after another (Protocol Buffers, "Encoding"). Which fields a message has is
//! `encode`'s matter. prost has the numbers and lengths; its messages would have to own what they are made of.

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Bytes of a text, of bytes or of a message of `len` bytes as a field.
pub fn delimited_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

/// Begins a field of that kind; its `len` bytes are to follow.
pub fn delimited(to: &mut Vec<u8>, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(len as u64, to);
}

/// A text, or a message that is encoded already.
pub fn bytes(to: &mut Vec<u8>, field: u32, value: &[u8]) {
    delimited(to, field, value.len());
    to.extend_from_slice(value);
}

/// Bytes of a field of varying width: integers, truth values and enumerations.
pub fn varint_len(field: u32, value: u64) -> usize {
    key_len(field) + encoded_len_varint(value)
}

/// A field of varying width.
pub fn varint(to: &mut Vec<u8>, field: u32, value: u64) {
    encode_key(field, WireType::Varint, to);
    encode_varint(value, to);
}

/// Bytes of a field of eight bytes.
pub fn fixed_len(field: u32) -> usize {
    key_len(field) + size_of::<u64>()
}

/// A field of eight bytes: `fixed64`, `sfixed64`, or a `double` by its bits.
pub fn fixed(to: &mut Vec<u8>, field: u32, value: u64) {
    encode_key(field, WireType::SixtyFourBit, to);
    to.extend_from_slice(&value.to_le_bytes());
}
