"""hog_compiler: hog_kernels -> an object file, for LLVM to link where it is used: by then, numba is not needed.

Run as a program it writes the file to standard output. numba makes LLVM's own language of the kernels, LLVM the rest.
"""

import sys

import llvmlite.binding as llvm

from spark_job.faces.hog_code import ENTRY, PROCESSOR, TRIPLE
from spark_job.faces.hog_kernels import detect


def compiled() -> bytes:
    """The object file of hog_kernels.detect. The environment has told numba the processor.

    Raises ValueError where it is in need of anything that is not in it: linking that would end the process.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=PROCESSOR, opt=3, reloc="pic")
    module = llvm.parse_assembly(detect.inspect_llvm())
    # What tells Python of errors goes, since nothing here raises one: that is plain once nobody else can call anything.
    module.get_function(detect.native_name).name = ENTRY
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name == ENTRY else "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    needed = [f.name for f in (*module.functions, *module.global_variables) if f.is_declaration]
    if others := [name for name in needed if not name.startswith("llvm.")]:
        raise ValueError(f"it needs {', '.join(others)}")
    code: bytes = machine.emit_object(module)
    return code


if __name__ == "__main__":
    sys.stdout.buffer.write(compiled())
