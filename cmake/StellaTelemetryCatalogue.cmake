# stella_telemetry_catalogue(target NAMESPACE ns [FIELDS file.json] [METRICS file.json])
#
# A service's own fields and metrics, declared in the form of contracts/fields.json and contracts/metrics.json, become headers of `target`:
# "ns/fields.h" with ns::f::<name>(value) and "ns/metrics.h" with ns::metrics::k<Name>. A row without a PII class, an example or a review,
# and a label that is neither an enum nor bounded, do not build.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(STELLA_TELEMETRY_GENERATOR ${CMAKE_CURRENT_LIST_DIR}/generate_contracts.py CACHE INTERNAL "")

function(stella_telemetry_catalogue target)
  cmake_parse_arguments(C "" "NAMESPACE;FIELDS;METRICS" "" ${ARGN})
  if(NOT C_NAMESPACE OR C_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "stella_telemetry_catalogue(${target}): NAMESPACE is missing, or unknown arguments: ${C_UNPARSED_ARGUMENTS}")
  endif()
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${target}-catalogue)
  set(kinds FIELDS METRICS)
  set(command_FIELDS service_fields)
  set(command_METRICS metrics)
  foreach(kind IN LISTS kinds)
    if(C_${kind})
      string(TOLOWER ${kind} header)
      cmake_path(ABSOLUTE_PATH C_${kind} OUTPUT_VARIABLE file)
      add_custom_command(OUTPUT ${generated}/${C_NAMESPACE}/${header}.h
        COMMAND ${Python3_EXECUTABLE} ${STELLA_TELEMETRY_GENERATOR} ${command_${kind}} ${C_NAMESPACE} ${file} ${generated}
        DEPENDS ${STELLA_TELEMETRY_GENERATOR} ${file} COMMENT "${target}: generating ${C_NAMESPACE}/${header}.h" VERBATIM)
      target_sources(${target} PRIVATE ${generated}/${C_NAMESPACE}/${header}.h)
    endif()
  endforeach()
  target_include_directories(${target} PRIVATE ${generated})
endfunction()
