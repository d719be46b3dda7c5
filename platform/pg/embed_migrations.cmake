# cmake -DOUT=… -DFILES="a.sql;b.sql" -P embed_migrations.cmake: the migrations as one C++ source.
set(text "// Generated from db/migrations; do not edit.\n#include \"migrate.h\"\n\nnamespace stella::pg {\nnamespace {\nconstexpr Migration kMigrations[] = {\n")
foreach(file IN LISTS FILES)
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} sql)
  string(APPEND text "    {\"${name}\", R\"__sql__(${sql})__sql__\"},\n")
endforeach()
string(APPEND text "};\n}  // namespace\nstd::span<const Migration> migrations() { return kMigrations; }\n}  // namespace stella::pg\n")
file(WRITE ${OUT} "${text}")
