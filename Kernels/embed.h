// One entry of the table in kernels.c: the file SOURCE with its text.
{SOURCE, (const char[]){
#embed SOURCE suffix(, 0)
}},
#undef SOURCE
