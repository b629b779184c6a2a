extension DrillPage {
    /// One style for screen and paper. A narrow screen gets the drawing that is made for it.
    static let style = """
        :root { color-scheme: light dark; --ink: #1c2430; --quiet: #5b6676; --paper: #fff; --line: #d9dee6; --soft: #f3f5f8;
          --dc0: #2f6fb7; --dc1: #e08a1e; --good: #1d7a46; --bad: #b3261e; --moved: #7a3fb0; --order: #5b6676; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --quiet: #9aa6b6; --paper: #14181f; --line: #343c48; --soft: #1d232c;
          --dc0: #5b9be0; --dc1: #eda545; --good: #4fc184; --bad: #ff7a70; --moved: #b98be6; --order: #9aa6b6; } }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
        main { max-width: 1120px; margin: 0 auto; padding: 20px 20px 40px; }
        h1 { font-size: 26px; margin: 6px 0 4px; } h2 { font-size: 18px; margin: 34px 0 10px; border-bottom: 1px solid var(--line); padding-bottom: 4px; }
        h3 { font-size: 15px; margin: 18px 0 4px; } p { margin: 4px 0; } code { font-size: 90%; overflow-wrap: anywhere; }
        .quiet, footer { color: var(--quiet); font-size: 13px; } footer { margin-top: 34px; border-top: 1px solid var(--line); padding-top: 10px; }
        .verdict { display: inline-block; margin: 0; padding: 3px 14px; border-radius: 4px; color: #fff; font-weight: 700; letter-spacing: .06em; }
        .verdict.good { background: #1d7a46; } .verdict.bad { background: #b3261e; }
        .complaints { color: var(--bad); padding-left: 20px; }
        .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 18px 0 0; }
        .figure { background: var(--soft); border-left: 4px solid var(--line); border-radius: 4px; padding: 8px 12px; }
        .figure b { display: block; font-size: 24px; line-height: 1.2; } .figure span { color: var(--quiet); font-size: 13px; }
        .figure.good { border-color: var(--good); } .figure.bad { border-color: var(--bad); } .figure.bad b { color: var(--bad); }
        .scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 8px 0; width: 100%; } table.small { width: auto; min-width: 320px; }
        th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
        th { color: var(--quiet); font-weight: 600; font-size: 13px; } .n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
        .lamp { font-weight: 600; white-space: nowrap; } .lamp::before { content: "●"; margin-right: 6px; }
        .lamp.good { color: var(--good); } .lamp.bad { color: var(--bad); } .lamp.bad::before { content: "▲"; }
        .parts td { border: 0; padding: 3px 12px 3px 0; } .parts td:first-child { width: 110px; } .parts td.n { width: 90px; }
        .bar { padding: 3px 0; } .bar span { display: block; height: 15px; min-width: 2px; background: var(--dc0); border-radius: 2px; }
        details { margin: 10px 0; } summary { cursor: pointer; }
        svg.timeline { display: block; width: 100%; height: auto; font-family: inherit; overflow: visible; } svg text { fill: var(--ink); }
        .narrow { display: none; }
        .phase.p0 { fill: var(--soft); } .phase.p1 { fill: var(--line); } .phase.bad { fill: var(--bad); opacity: .4; } .ground { fill: var(--soft); }
        .dc0 { fill: var(--dc0); background: var(--dc0); } .dc1 { fill: var(--dc1); background: var(--dc1); }
        rect.nobody, i.nobody { fill: var(--bad); fill-opacity: .16; } i.nobody { background: var(--bad); opacity: .3; }
        svg text.nobody { fill: var(--bad); font-weight: 600; } svg text.axis, svg text.lane { fill: var(--quiet); }
        path.repeat, path.moved, path.lost { fill: none; stroke-width: 1.4; } path.repeat { stroke: var(--bad); } path.moved { stroke: var(--moved); }
        path.lost { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 3 2; }
        i.repeat { background: var(--bad); } i.moved { background: var(--moved); } i.lost { background: repeating-linear-gradient(0deg, var(--bad) 0 3px, transparent 3px 5px); }
        .stopped { fill: var(--ink); fill-opacity: .12; } i.stopped { background: var(--ink); opacity: .2; }
        .produced { fill: var(--quiet); fill-opacity: .22; } i.produced { background: var(--quiet); opacity: .35; }
        .grid { stroke: var(--line); stroke-width: 1; } line.moment { stroke-width: 1.6; stroke: var(--ink); }
        line.cut { stroke: var(--bad); stroke-width: 2; } svg text.cut { fill: var(--bad); font-weight: 700; } line.order { stroke: var(--order); stroke-dasharray: 4 3; }
        svg text.moment { font-weight: 600; paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
        .keys { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; margin-top: 8px; } .keys i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border-radius: 2px; vertical-align: -1px; }
        @media (max-width: 640px) { main { padding: 14px 14px 30px; } .wide { display: none; } .narrow { display: block; } h1 { font-size: 22px; }
          .figures { grid-template-columns: repeat(2, 1fr); } th, td { padding-right: 10px; } .parts td:first-child { width: 86px; } .parts td.n { width: 70px; } }
        @media print { @page { margin: 14mm; } :root { --ink: #000; --quiet: #444; --paper: #fff; --line: #bbb; --soft: #f1f1f1; --dc0: #2f6fb7; --dc1: #e08a1e; --good: #1d7a46; --bad: #b3261e; }
          * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } body { font-size: 11px; } .quiet, footer, th, .figure span { font-size: 10px; } .keys { font-size: 10px; } main { max-width: none; padding: 0; } .wide { display: block; } .narrow { display: none; }
          h2 { margin-top: 18px; } h2, h3 { break-after: avoid; } tr, .figure, svg, header { break-inside: avoid; } .figures { grid-template-columns: repeat(5, 1fr); } .figure b { font-size: 17px; }
          details > *:not(summary) { display: block; } .scroll { overflow: visible; } th, td { padding: 3px 8px 3px 0; } }
        """
}
