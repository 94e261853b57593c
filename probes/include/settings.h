/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What user space sets while the programs run, and what a sweep tells it. */
#ifndef NETSONDE_SETTINGS_H
#define NETSONDE_SETTINGS_H

#include "kernel.h"
#include "records.h"

struct settings settings SEC(".data.settings");
struct sweep_totals sweep_totals SEC(".data.totals");

#endif
