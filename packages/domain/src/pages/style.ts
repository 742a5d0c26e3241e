/**
 * The one style sheet of all pages. It stands in each page, because a page may be shown on an
 * application's host, where no file of ours exists; its hash is in the Content-Security-Policy.
 *
 * Colour pairs keep a contrast of at least 4.5:1 for text and 3:1 for controls, light and dark.
 */
export const css = `
:root{color-scheme:light dark;
--page:#f4f5f8;--card:#fff;--text:#161a23;--muted:#545c6c;--line:#e2e5eb;--control:#868e9d;
--accent:#1d2f5e;--accent-hover:#2a427f;--on-accent:#fff;--link:#23459c;--focus:#2f6bea;
--door:#f5a524;--arch:#1d2f5e1f;--glow:#f5a5241c;--shadow:0 1px 2px #10182810,0 12px 32px -8px #1018281f;
--bad-text:#8f1d1d;--bad-page:#fdf1f0;--bad-line:#efc4c0;--note-page:#eef3fd;--note-line:#c5d6f7}
@media(prefers-color-scheme:dark){:root{
--page:#0e1119;--card:#171b26;--text:#eceff5;--muted:#a4acbc;--line:#2a3040;--control:#717a8c;
--accent:#b4c6ff;--accent-hover:#cfdbff;--on-accent:#0f1a38;--link:#a9c0ff;--focus:#8fb0ff;
--arch:#b4c6ff1f;--glow:#f5a52420;--shadow:0 1px 2px #0006,0 16px 40px -8px #0009;
--bad-text:#ffb4ab;--bad-page:#2c1718;--bad-line:#5f2a2a;--note-page:#172238;--note-line:#2e4470}}
*,*::before,*::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;
background:var(--page);color:var(--text);overflow-wrap:anywhere;
font:400 1rem/1.55 "Segoe UI Variable Text","Segoe UI",system-ui,-apple-system,"Helvetica Neue",Roboto,"Noto Sans",sans-serif;
-webkit-font-smoothing:antialiased}
h1,h2,p,ul,dl,dd,form{margin:0;padding:0}
h1{font-size:1.5rem;line-height:1.25;font-weight:600;letter-spacing:-.015em;text-wrap:pretty}
h2{font-size:1rem;line-height:1.4;font-weight:600}
a{color:var(--link);text-underline-offset:.18em;text-decoration-thickness:1px}
a:hover{text-decoration-thickness:2px}
strong{font-weight:600}
code{font:500 .8125rem/1.5 ui-monospace,"Cascadia Mono",Menlo,Consolas,monospace}
:focus-visible{outline:2px solid var(--focus);outline-offset:2px;border-radius:4px}
.brand{display:inline-flex;align-items:center;gap:.625rem;font-size:1.125rem;font-weight:600;
letter-spacing:-.02em;color:var(--text);white-space:nowrap}
.mark{display:block;flex:none}
.mark-tile{fill:#1d2f5e}.mark-wall{fill:#fff}.mark-door{fill:var(--door)}
@media(prefers-color-scheme:dark){.mark-tile{fill:#2b4180}}
.arches{position:fixed;inset:0;width:100%;height:100%;z-index:-1;fill:none;stroke:var(--arch);
stroke-width:1.25}
.light{stroke:none}.glow{stop-color:var(--glow)}.glow.out{stop-opacity:0}
.stage{flex:1;display:flex;flex-direction:column;align-items:center;justify-content:center;
padding:clamp(1.25rem,5vh,4rem) 1rem;gap:1.5rem}
.card{width:100%;max-width:26.5rem;padding:clamp(1.25rem,6vw,2.5rem);background:var(--card);
border:1px solid var(--line);border-radius:16px;box-shadow:var(--shadow);
display:flex;flex-direction:column;gap:1.25rem}
.card.wide{max-width:34rem}
.lead{color:var(--muted);margin-top:.375rem}
.lead strong{color:var(--text)}
.fields{display:flex;flex-direction:column;gap:1.125rem}
.field{display:flex;flex-direction:column;gap:.375rem}
label{font-size:.875rem;font-weight:600}
input{width:100%;min-height:2.875rem;padding:.5rem .875rem;font:inherit;color:inherit;
background:var(--card);border:1px solid var(--control);border-radius:10px}
input:focus-visible{outline-offset:0;border-color:var(--focus);border-radius:10px}
input[aria-invalid=true]{border-color:var(--bad-text)}
.button{display:inline-flex;align-items:center;justify-content:center;min-height:2.875rem;
padding:.5rem 1.25rem;font:inherit;font-weight:600;text-align:center;text-decoration:none;
color:var(--on-accent);background:var(--accent);border:1px solid transparent;border-radius:10px;
cursor:pointer;transition:background-color .12s}
.button:hover{background:var(--accent-hover)}
.button:focus-visible{border-radius:10px}
.button.quiet{color:var(--text);background:transparent;border-color:var(--control)}
.button.quiet:hover{background:var(--page)}
.button[hidden]{display:none}
.fields .button{width:100%;margin-top:.25rem}
.actions{display:flex;flex-wrap:wrap;gap:.75rem}
.actions>*{flex:1 1 auto}
.note{padding:.75rem .875rem;font-size:.9375rem;border:1px solid var(--note-line);
background:var(--note-page);border-radius:10px}
.note.bad{color:var(--bad-text);background:var(--bad-page);border-color:var(--bad-line)}
.status{display:inline-block;margin-bottom:.75rem;padding:.125rem .625rem;font-size:.8125rem;
font-weight:600;font-variant-numeric:tabular-nums;color:var(--muted);border:1px solid var(--line);
border-radius:99px}
.stack{display:flex;flex-direction:column;gap:.75rem}
.steps{padding-left:1.375rem;margin:0;display:flex;flex-direction:column;gap:.5rem}
.facts{display:grid;grid-template-columns:auto 1fr;align-items:baseline;gap:.25rem 1rem;padding-top:1.125rem;
border-top:1px solid var(--line);font-size:.8125rem;color:var(--muted)}
.facts dd{color:var(--text);min-width:0}
.copy{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem .5rem}
.copy code{-webkit-user-select:all;user-select:all}
.copy button{min-height:1.5rem;padding:0 .5rem;font:inherit;line-height:1.375rem;color:var(--link);
background:transparent;border:1px solid var(--control);border-radius:6px;cursor:pointer}
.copy button[hidden]{display:none}
.copy button:hover{background:var(--page)}
.foot{font-size:.8125rem;color:var(--muted);text-align:center}
.bar{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:.75rem 1.5rem;
padding:.875rem clamp(1rem,4vw,2.5rem);background:var(--card);border-bottom:1px solid var(--line)}
.person{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem 1.25rem;font-size:.875rem}
.person b{display:block;font-weight:600;line-height:1.3}
.person .name{color:var(--muted);line-height:1.3}
.wall{flex:1;width:100%;max-width:78rem;margin:0 auto;padding:clamp(1.5rem,5vw,3.5rem) clamp(1rem,4vw,2.5rem);
display:flex;flex-direction:column;gap:1.5rem}
.tiles{list-style:none;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,18.5rem),1fr))}
.tile{display:flex;align-items:center;gap:1rem;height:100%;padding:1.125rem;color:inherit;
text-decoration:none;background:var(--card);border:1px solid var(--line);border-radius:14px;
transition:border-color .12s,box-shadow .12s}
.tile:hover{border-color:var(--control);box-shadow:var(--shadow)}
.tile:focus-visible{border-radius:14px}
.tile b{display:block;font-weight:600;line-height:1.35}
.tile span+span{min-width:0}
.tile .host{display:block;font-size:.8125rem;color:var(--muted);line-height:1.5}
.monogram{flex:none;display:grid;place-items:center;width:3rem;height:3rem;border-radius:12px;
font-size:1.125rem;font-weight:600;color:#fff}
.tint0{background:#27509b}.tint1{background:#0f6a63}.tint2{background:#7a3b8f}.tint3{background:#a03d2f}
.tint4{background:#4a5568}.tint5{background:#8a5a00}.tint6{background:#2f6b2f}.tint7{background:#9a2f63}
.empty{padding:clamp(1.5rem,6vw,3.5rem) 1.25rem;text-align:center;color:var(--muted);
border:1px dashed var(--control);border-radius:14px;display:flex;flex-direction:column;gap:.375rem}
.empty h2{color:var(--text)}
.wall.narrow{max-width:52rem}
.rows{list-style:none;display:flex;flex-direction:column;gap:.75rem}
.row{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:.75rem 1.5rem;
padding:1rem 1.125rem;background:var(--card);border:1px solid var(--line);border-radius:14px}
.row>div{flex:1 1 16rem;min-width:0}
.row.tall{flex-direction:column;flex-wrap:nowrap;align-items:stretch;gap:1rem}
.row.tall>div{flex:none}
.row .note{margin-top:.625rem}
.row .fields .actions>*{flex:0 1 auto;width:auto;min-width:7rem;margin:0}
.row details .fields{margin-top:1rem}
.pair{display:flex;flex-wrap:wrap;gap:1.125rem}
.pair>*{flex:1 1 14rem;min-width:0}
summary{width:fit-content;font-size:.875rem;font-weight:600;color:var(--link);cursor:pointer}
.badge{display:inline-block;margin-left:.25rem;padding:0 .5rem;font-size:.75rem;font-weight:600;color:var(--muted);
border:1px solid var(--line);border-radius:99px;vertical-align:.1em}
.detail{font-size:.875rem;color:var(--muted)}
.wall>.actions>*{flex:0 1 auto}
@media(max-width:26rem){.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:.5rem}}
@media(prefers-reduced-motion:reduce){*{transition:none!important}}
@media(forced-colors:active){.arches{display:none}.button,.tile,.row,.card,.monogram{border:1px solid}}
@media print{.arches,.actions{display:none}}
`
