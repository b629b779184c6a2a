// librdkafka's public header, and what Swift can't import from it (macros, variadics).
#ifndef SWITCHBACK_CRDKAFKA_SHIM_H
#define SWITCHBACK_CRDKAFKA_SHIM_H

#include <librdkafka/rdkafka.h>

#endif
