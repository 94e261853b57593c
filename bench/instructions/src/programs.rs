//! How many instructions each BPF program has in the compiled object, each function that it may call counted once, as
//! the kernel gets them: libbpf appends these to the program (`bpf_object__reloc_code()`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SymbolKind,
};

/// Bytes of an instruction (RFC 9669, 3); one with 64 bits of immediate takes two.
const INSTRUCTION: u64 = 8;
const CALL: u8 = 0x85;
const LOAD_64: u8 = 0x18;
/// In the source register of a call: of a function of this object (RFC 9669, 4.3.1).
const LOCAL: u8 = 1;
/// Where functions are that are no programs.
const FUNCTIONS: &str = ".text";

/// The number of a section, and an offset in it.
type Place = (usize, u64);

struct Function {
    name: String,
    bytes: u64,
    calls: BTreeSet<Place>,
    is_program: bool,
}

/// Ends the names of those programs that are for kernels on which sockets are known by their address.
const BY_ADDRESS: &str = "_by_address";

/// Instructions by program, in both objects that netsonde carries.
///
/// # Errors
///
/// As [`lengths`].
pub fn of_both_objects() -> Result<BTreeMap<String, u64>> {
    let mut all = lengths(netsonde_probes::object())?;
    let by_address = lengths(netsonde_probes::object_by_address())?;
    all.extend(by_address.into_iter().map(|(name, length)| (name + BY_ADDRESS, length)));
    Ok(all)
}

/// Instructions by program.
///
/// # Errors
///
/// When the object is none, or calls what is not there.
pub fn lengths(object: &[u8]) -> Result<BTreeMap<String, u64>> {
    let functions = functions(&object::File::parse(object).context("the BPF object cannot be read")?)?;
    let mut lengths = BTreeMap::new();
    for (place, function) in functions.iter().filter(|(_, function)| function.is_program) {
        lengths.insert(function.name.clone(), length(&functions, *place)?);
    }
    if lengths.is_empty() {
        bail!("the BPF object has no programs");
    }
    Ok(lengths)
}

/// Instructions of a function and of all that it may call.
fn length(functions: &BTreeMap<Place, Function>, of: Place) -> Result<u64> {
    let (mut met, mut waiting, mut bytes) = (BTreeSet::new(), vec![of], 0);
    while let Some(place) = waiting.pop() {
        if !met.insert(place) {
            continue;
        }
        let function = functions.get(&place).context("a BPF program calls what is no function")?;
        bytes += function.bytes;
        waiting.extend(&function.calls);
    }
    Ok(bytes / INSTRUCTION)
}

fn functions(object: &object::File<'_>) -> Result<BTreeMap<Place, Function>> {
    let mut functions = BTreeMap::new();
    for symbol in object.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(index) = symbol.section_index() else { continue };
        let section = object.section_by_index(index)?;
        let range = symbol.address()..symbol.address() + symbol.size();
        let calls = calls(object, &section, range)?;
        let is_program = section.name()? != FUNCTIONS;
        let (name, bytes) = (symbol.name()?.to_owned(), symbol.size());
        functions.insert((index.0, symbol.address()), Function { name, bytes, calls, is_program });
    }
    Ok(functions)
}

/// What the code of a range of a section calls, or takes the address of for a helper to call.
fn calls(
    object: &object::File<'_>,
    section: &object::Section<'_, '_>,
    range: std::ops::Range<u64>,
) -> Result<BTreeSet<Place>> {
    let targets: BTreeMap<u64, Place> = section
        .relocations()
        .filter_map(|(offset, relocation)| {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { return None };
            let symbol = object.symbol_by_index(symbol).ok()?;
            Some((offset, (symbol.section_index()?.0, symbol.address())))
        })
        .collect();
    let code = section.data()?;
    let mut calls = BTreeSet::new();
    let mut offset = range.start;
    while offset < range.end {
        let at = usize::try_from(offset)?;
        let bytes = code.get(at..at + 8).context("a function is longer than its section")?;
        let immediate = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let target = targets.get(&offset);
        if bytes[0] == CALL && bytes[1] >> 4 == LOCAL {
            // Counted from the next instruction; with a relocation from where its symbol is.
            let (section, from) = target.map_or((section.index().0, offset), |(section, at)| (*section, *at));
            calls.insert((section, moved(from, (i64::from(immediate) + 1) * INSTRUCTION.cast_signed())?));
        } else if bytes[0] == LOAD_64
            && let Some((section, at)) = target
            && object.section_by_index(SectionIndex(*section))?.name()? == FUNCTIONS
        {
            calls.insert((*section, moved(*at, immediate.into())?));
        }
        offset += if bytes[0] == LOAD_64 { 2 * INSTRUCTION } else { INSTRUCTION };
    }
    Ok(calls)
}

fn moved(from: u64, by: i64) -> Result<u64> {
    from.checked_add_signed(by).context("a BPF program calls what is before its section")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(bytes: u64, calls: &[u64]) -> Function {
        let calls = calls.iter().map(|at| (1, *at)).collect();
        Function { name: String::new(), bytes, calls, is_program: false }
    }

    #[test]
    fn each_function_that_may_be_called_counts_once() {
        let place = |at| (1, at);
        let functions = BTreeMap::from([
            (place(0), function(80, &[100, 200])),
            (place(100), function(16, &[200])),
            (place(200), function(24, &[])),
            (place(300), function(400, &[])),
        ]);
        assert_eq!(length(&functions, place(0)).unwrap(), 15);
        assert_eq!(length(&functions, place(100)).unwrap(), 5);
        assert!(length(&BTreeMap::from([(place(0), function(8, &[7]))]), place(0)).is_err());
    }

    #[test]
    fn programs_that_share_a_function_both_have_it() {
        let lengths = lengths(netsonde_probes::object()).unwrap();
        assert!(lengths.len() > 20, "{lengths:?}");
        assert!(lengths.values().all(|n| *n > 1), "{lengths:?}");
    }
}
