# The telemetry library as an installed CMake package, for services outside of this tree:
#   cmake --install build/release --component telemetry --prefix /opt/stella-telemetry
#   find_package(stella-telemetry) gives stella::telemetry_core and what it needs. Nothing of the platform is in it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_modules base contracts telemetry_scrub telemetry_api telemetry_otlp telemetry_export telemetry_core telemetry_grpc)
set(package_headers ${CMAKE_INSTALL_INCLUDEDIR}/stella-telemetry)
set(package_share ${CMAKE_INSTALL_DATADIR}/stella-telemetry)

foreach(module IN LISTS package_modules)
  if(NOT TARGET stella_${module})
    continue()
  endif()
  get_property(uses GLOBAL PROPERTY STELLA_USES_${module})
  foreach(used IN LISTS uses)
    if(NOT used IN_LIST package_modules)
      message(FATAL_ERROR "stella-telemetry: ${module} uses ${used}, which is not part of the package")
    endif()
  endforeach()
  install(TARGETS stella_${module} EXPORT stella-telemetry COMPONENT telemetry
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/stella-telemetry
    FILE_SET HEADERS DESTINATION ${package_headers} COMPONENT telemetry)
  target_include_directories(stella_${module} INTERFACE $<INSTALL_INTERFACE:${package_headers}>)
endforeach()
target_compile_features(stella_base PUBLIC cxx_std_23)

install(DIRECTORY ${CMAKE_BINARY_DIR}/generated/contracts/stella ${CMAKE_BINARY_DIR}/generated/telemetry/stella
  DESTINATION ${package_headers} COMPONENT telemetry FILES_MATCHING PATTERN "*.h")
install(EXPORT stella-telemetry NAMESPACE stella:: COMPONENT telemetry DESTINATION ${package_share})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/stella-telemetry-config.cmake.in ${CMAKE_BINARY_DIR}/stella-telemetry-config.cmake
  INSTALL_DESTINATION ${package_share})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/stella-telemetry-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/stella-telemetry-config.cmake ${CMAKE_BINARY_DIR}/stella-telemetry-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/StellaTelemetryCatalogue.cmake ${CMAKE_SOURCE_DIR}/tools/generate_contracts.py
  DESTINATION ${package_share} COMPONENT telemetry)
