"""Parts of Grafana dashboards: panels, variables and the page around them, as Grafana's own JSON (schema 39).

Owns how things look and are laid out. What is asked and said is the dashboards' matter. Every panel needs a
description, and every query names the data source by the variable `datasource`.
"""

SCHEMA = 39
TAG = "netsonde"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24

GREEN, ORANGE, RED = "green", "orange", "red"


class Query:
    """One PromQL expression with the name of what it gives."""

    def __init__(self, expression, legend="__auto", instant=False, shape="time_series"):
        self.expression = expression
        self.legend = legend
        self.instant = instant
        self.shape = shape

    def target(self, name):
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": self.expression,
            "format": self.shape,
            "instant": self.instant,
            "legendFormat": self.legend,
            "range": not self.instant,
            "refId": name,
        }


def now(expression, legend="__auto"):
    """What an expression gives at the end of the shown time."""
    return Query(expression, legend, instant=True)


def rows(expression):
    """The same as rows of a table."""
    return Query(expression, instant=True, shape="table")


def thresholds(orange=None, red=None):
    """Steps at which a value is noted and at which it is bad; green where there are none."""
    steps = [{"color": GREEN, "value": None}]
    steps += [{"color": color, "value": at} for color, at in ((ORANGE, orange), (RED, red)) if at is not None]
    return {"mode": "absolute", "steps": steps}


def panel(kind, title, description, queries, unit, size, options, custom=None, limits=None, **defaults):
    """A panel without its place and its number. `queries` is a list, or a dict where the names matter."""
    if not isinstance(queries, dict):
        queries = {chr(ord("A") + index): query for index, query in enumerate(queries)}
    settings = {"unit": unit, "thresholds": limits or thresholds(), "color": {"mode": "palette-classic"}}
    settings.update(defaults)
    if custom:
        settings["custom"] = custom
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [query.target(name) for name, query in queries.items()],
        "fieldConfig": {"defaults": settings, "overrides": []},
        "options": options,
        "gridPos": {"w": size[0], "h": size[1]},
    }


def graph(title, description, queries, unit, size=(12, 8), limits=None, stacked=False, mirrored=None, **defaults):
    """Lines over time. Series of the query `mirrored` go below zero, as what is received does beside what is sent."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 20 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
        "axisCenteredZero": mirrored is not None,
    }
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
            "sortBy": "Last *",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    made = panel("timeseries", title, description, queries, unit, size, options, custom, limits, **defaults)
    if mirrored is not None:
        made["fieldConfig"]["overrides"].append(
            {
                "matcher": {"id": "byFrameRefID", "options": mirrored},
                "properties": [{"id": "custom.transform", "value": "negative-Y"}],
            }
        )
    return made


def stat(title, description, query, unit, limits=None, size=(4, 4), **defaults):
    """One number, with its course behind it."""
    options = {
        "colorMode": "value" if limits else "none",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
        "wideLayout": True,
    }
    color = {"color": {"mode": "thresholds"}}
    return panel("stat", title, description, [query], unit, size, options, None, limits, **{**color, **defaults})


def heatmap(title, description, expression, size=(12, 9)):
    """Buckets of a histogram of seconds over time; the expression gives what was added to each, by `le`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "fill": "dark-orange",
            "reverse": False,
        },
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    query = Query(expression, "{{le}}", shape="heatmap")
    return panel("heatmap", title, description, [query], "s", size, options)


def histogram(title, description, expression, size=(12, 9)):
    """Buckets of a histogram of seconds, as bars, over the whole time shown."""
    options = {
        "displayMode": "basic",
        "legend": {"showLegend": False},
        "namePlacement": "auto",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    query = Query(expression, "{{le}}", instant=True, shape="heatmap")
    return panel(
        "bargauge",
        title,
        description,
        [query],
        "short",
        size,
        options,
        decimals=0,
        min=0,
        color={"mode": "fixed", "fixedColor": "orange"},
    )


def table(title, description, queries, columns, sort, size=(24, 9)):
    """A table. `queries` by name; `columns` maps labels, and values by `Value #name`, to headings with an optional unit,
    in their order. A value that is not named is left out."""
    queries = {name: rows(expression) for name, expression in queries.items()}
    # One query alone gives a column of no name but Value.
    key = {f"Value #{name}": "Value" for name in queries} if len(queries) == 1 else {}
    headings = {
        key.get(field, field): heading if isinstance(heading, str) else heading[0] for field, heading in columns.items()
    }
    options = {
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
        "showHeader": True,
        "sortBy": [{"displayName": sort, "desc": True}],
    }
    made = panel(
        "table",
        title,
        description,
        queries,
        "short",
        size,
        options,
        {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False},
    )
    made["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": heading[0]}, "properties": [{"id": "unit", "value": heading[1]}]}
        for heading in columns.values()
        if not isinstance(heading, str)
    ]
    values = {key.get(f"Value #{name}", f"Value #{name}") for name in queries}
    organize = {
        "excludeByName": {field: True for field in ["Time", *sorted(values - set(headings))]},
        "indexByName": {field: index for index, field in enumerate(headings)},
        "renameByName": headings,
    }
    steps = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    made["transformations"] = [*steps, {"id": "organize", "options": organize}]
    return made


def node_graph(title, description, nodes, edges, unit, size=(24, 20)):
    """Nodes with `id`, `title` and `subtitle`, and edges with `id`, `source` and `target`; their values are the main
    statistics. Grafana takes the frame that has a `source` for the edges."""
    made = panel(
        "nodeGraph",
        title,
        description,
        {"nodes": rows(nodes), "edges": rows(edges)},
        unit,
        size,
        {
            "zoomMode": "cooperative",
            "nodes": {"mainStatUnit": unit},
            "edges": {"mainStatUnit": unit},
        },
    )
    # The panel looks for a field of this name. Renaming would not do: it changes what is shown as the name, and that alone.
    made["transformations"] = [
        {
            "id": "calculateField",
            "filter": {"id": "byRefId", "options": name},
            "options": {
                "alias": "mainstat",
                "mode": "reduceRow",
                "reduce": {"include": [f"Value #{name}"], "reducer": "sum"},
                "replaceFields": False,
            },
        }
        for name in ("nodes", "edges")
    ]
    return made


def heading(title):
    """A row that names what is below it."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": COLUMNS, "h": 1}}


def arrange(panels):
    """Gives each panel its number and its place, from left to right and from top to bottom."""
    x = y = height = 0
    for number, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y, height = 0, y + height, 0
        place.update(x=x, y=y)
        x, height = x + place["w"], max(height, place["h"])
        one["id"] = number
    return panels


def variable(name, label, metric, tag, many=True):
    """A variable whose values are those of a label; several, or all, can be chosen."""
    query = f"label_values({metric}, {tag})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "multi": many,
        "includeAll": many,
        # Also what has no such label: a program outside of any unit.
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "hide": 0,
        "skipUrlSync": False,
    }


def choice(name, label, values, chosen):
    """A variable that is one of a few given values."""
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(values),
        "current": {"selected": True, "text": chosen, "value": chosen},
        "options": [{"selected": value == chosen, "text": value, "value": value} for value in values],
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "skipUrlSync": False,
    }


def data_source():
    """The variable by which every query finds its store."""
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "current": {},
        "options": [],
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "skipUrlSync": False,
    }


def dashboard(name, title, description, variables, panels):
    """The whole page, with links to the others that keep time and variables."""
    return {
        "uid": f"netsonde-{name}",
        "title": f"netsonde / {title}",
        "description": description,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "netsonde",
                "tags": [TAG],
                "asDropdown": True,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [data_source(), *variables]},
        "panels": arrange(panels),
    }
