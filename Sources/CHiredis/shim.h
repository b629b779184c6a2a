// hiredis: Redis's own C client, in its blocking form.
#ifndef SWITCHBACK_CHIREDIS_SHIM_H
#define SWITCHBACK_CHIREDIS_SHIM_H
#include <hiredis/hiredis.h>
#endif
