#ifndef SWITCHBACK_CPCRE2_SHIM_H
#define SWITCHBACK_CPCRE2_SHIM_H
// Texts are UTF-8: the library's 8-bit form.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif
