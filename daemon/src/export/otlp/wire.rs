//! Fields of protobuf messages, one after another (Protocol Buffers, "Encoding"). Which fields a message has is
//! `encode`'s matter. prost has the numbers and lengths; its messages would have to own what they are made of.

use prost::encoding::{WireType, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len};

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

/// Gives another number to fields that [`bytes()`] wrote one after another. Both numbers are below 16, whose keys have
/// one byte.
pub fn renumber(mut fields: &mut [u8], field: u32) {
    debug_assert!(field < 16, "{field} has a longer key");
    let key = (field << 3) as u8 | WireType::LengthDelimited as u8;
    while let Some((first, rest)) = fields.split_first_mut() {
        *first = key;
        let mut after = &*rest;
        let len = decode_varint(&mut after).expect("a length follows each key");
        let next = rest.len() - after.len() + len as usize;
        fields = &mut rest[next..];
    }
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
