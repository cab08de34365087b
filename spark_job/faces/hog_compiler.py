"""hog_compiler: hog_kernels -> machine code that runs by itself: no numba, no LLVM and no linker where it is used.

Run as a program it writes the code to standard output. numba makes LLVM's own language of the kernels, LLVM an object
file of that; all that is left to do is to fill in the distances between its parts, which a linker would do.
"""

import struct
import sys

import numpy as np
from numpy.typing import NDArray

PROCESSOR = "x86-64-v3"  # any with AVX2, from 2013 on
HEAD = 64  # bytes, as many as keep what follows aligned
# What LLVM calls by itself to fill memory. (Of a loop like this one, too, but not in a function of this name.)
MEMSET = """
define ptr @memset(ptr %to, i32 %value, i64 %count) {
  %byte = trunc i32 %value to i8
  %none = icmp eq i64 %count, 0
  br i1 %none, label %done, label %fill
fill:
  %i = phi i64 [ 0, %0 ], [ %next, %fill ]
  %at = getelementptr i8, ptr %to, i64 %i
  store i8 %byte, ptr %at
  %next = add i64 %i, 1
  %last = icmp eq i64 %next, %count
  br i1 %last, label %done, label %fill
done:
  ret ptr %to
}
"""
# Of an object file: System V's ABI for ELF, and its supplement for x86-64.
SECTION_HEADERS_AT, SECTION_COUNT_AT = 0x28, 0x3C
SECTION = np.dtype("<u4, <u4, <u8, <u8, <u8, <u8, <u4, <u4, <u8, <u8")
SECTION.names = ("name", "type", "flags", "address", "offset", "size", "link", "info", "alignment", "entry_size")
SYMBOL = np.dtype("<u4, u1, u1, <u2, <u8, <u8")
SYMBOL.names = ("name", "info", "other", "section", "value", "size")
RELOCATION = np.dtype("<u8, <u4, <u4, <i8")  # offset, type, symbol, addend
SYMBOLS, RELOCATIONS = 2, 4  # types of sections
UNDEFINED, ABSOLUTE = 0, 0xFFF1  # in place of a symbol's section
DISTANCES = (2, 4)  # types of relocations, R_X86_64_PC32 and R_X86_64_PLT32: how far it is from here


def linked(elf: bytes, name: str) -> bytes:
    """An object file with all its distances filled in, behind a head that says where a function begins.

    Raises ValueError where it is in need of anything that is not in it.
    """
    image = bytearray(elf)
    (at,), (count,) = struct.unpack_from("<Q", elf, SECTION_HEADERS_AT), struct.unpack_from("<H", elf, SECTION_COUNT_AT)
    sections = np.frombuffer(elf, SECTION, count, at)

    def entries(section: np.void, form: np.dtype[np.void]) -> NDArray[np.void]:
        return np.frombuffer(elf, form, int(section["size"]) // form.itemsize, int(section["offset"]))

    (table,) = sections[sections["type"] == SYMBOLS]
    names = elf[int(sections[table["link"]]["offset"]) :]
    begins: dict[int | str, int] = {}
    for number, symbol in enumerate(entries(table, SYMBOL)):
        called = names[symbol["name"] :].split(b"\0", 1)[0].decode()
        if symbol["section"] not in (UNDEFINED, ABSOLUTE):
            begins[number] = begins[called] = int(sections[symbol["section"]]["offset"] + symbol["value"])
        elif symbol["section"] == UNDEFINED and called:
            raise ValueError(f"it needs {called}")
    for section in sections[sections["type"] == RELOCATIONS]:
        base = int(sections[section["info"]]["offset"])
        for offset, kind, number, addend in entries(section, RELOCATION).tolist():
            if kind not in DISTANCES:
                raise ValueError(f"it has a relocation of type {kind}")
            struct.pack_into("<i", image, base + offset, begins[number] + addend - (base + offset))
    return struct.pack("<Q", HEAD + begins[name]).ljust(HEAD, b"\0") + bytes(image)


def compiled() -> bytes:
    """The code of hog_kernels.detect. The environment has told numba the processor."""
    import llvmlite.binding as llvm

    from spark_job.faces.hog_kernels import detect

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu=PROCESSOR, opt=3, reloc="pic", codemodel="small")
    module = llvm.parse_assembly(detect.inspect_llvm())
    # What tells Python of errors goes, since nothing here raises one: that is plain once nobody else can call anything.
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name == detect.native_name else "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    module.link_in(llvm.parse_assembly(MEMSET))
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return linked(machine.emit_object(module), detect.native_name)


if __name__ == "__main__":
    sys.stdout.buffer.write(compiled())
