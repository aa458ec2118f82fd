--[[ What the deck and the paper say beyond plain Markdown, for Pandoc and Quarto alike.

Runs first, on the document as read (`at: pre-ast` in Quarto), and reads `_staged.json`, which
h2a_lib/report/staging.py writes from the results of one study.

  ::: {.when has="figure:sex_roc var:sex"}     kept if the study has all of these: a figure, a table,
                                               a group of variables or one variable (var:sex.auc);
                                               several:sex.n, one that is neither 0 nor 1; tier:rsna
  ::: {.when .quiet has="..."}                 the same, and not named where it falls out
  ::: {.unless has="..."}                      kept if it lacks one of them
  ::: {.left-out}                              names the slides that fell out, if any did
  ::: {.table name="runs" columns="run mae" rows="8"}
                                               becomes the study's table, or a dense one of
                                               at most `rows` a page; only="sex=both" keeps the
                                               rows with a value, without="n=0" leaves them out;
                                               caption="..." numbers it; widths="20 80" are percents
                                               of the PDF's page, for what else wraps badly
  ::: number                                   a variable, large: its value over its interval
  ![](figures/curves_by_depth.svg)             gets its alt text, caption, tier and source

Content outside `.when` is required: h2a_lib/report/checks.py fails on what is missing there.
]]

local typst = FORMAT:match("typst") ~= nil
-- The checks read the document as JSON: they need names, not pictures.
local checking = FORMAT == "json"
local stringify = pandoc.utils.stringify

local function read_staged()
  local file = io.open("_staged.json", "r")
  if not file then
    error("_staged.json is missing: `h2a report` stages the results of a study here")
  end
  local text = file:read("a")
  file:close()
  return pandoc.json.decode(text, false)
end

local staged = read_staged()
local left_out = pandoc.List()

-- Whether the study has what a name such as "figure:sex_roc" stands for.
local function present(name)
  local kind, rest = name:match("^(%a+):(.+)$")
  if kind == "figure" then
    return staged.figures[rest] ~= nil
  elseif kind == "table" then
    return staged.tables[rest] ~= nil
  elseif kind == "var" then
    local group, key = rest:match("^([^.]+)%.?(.*)$")
    local values = staged.variables[group]
    return values ~= nil and (key == "" or values[key] ~= nil)
  elseif kind == "several" then
    local group, key = rest:match("^([^.]+)%.(.+)$")
    local value = staged.variables[group] and staged.variables[group][key]
    return value ~= nil and value ~= "1" and not value:match("^[0.]+ ?%%?$")
  elseif kind == "tier" then
    return staged.variables.study.tier == rest
  end
  error('has="' .. name .. '": write figure:NAME, table:NAME, var:GROUP, var:GROUP.KEY, several:GROUP.KEY or tier:NAME')
end

local function all_present(names)
  for name in (names or ""):gmatch("%S+") do
    if not present(name) then
      return false
    end
  end
  return true
end

-- Titles of the slides in blocks that are not shown, so that none disappears unsaid.
local function note_left_out(blocks)
  pandoc.Blocks(blocks):walk({
    Header = function(header)
      -- A deck's slides have level 2; an article's sections 2 and 3, in its PDF one less.
      if header.level <= 3 then
        -- A title that is a result needs another name where there is no result.
        local title = header.attributes.topic or stringify(header.content)
        if not left_out:includes(title) then
          left_out:insert(title)
        end
      end
    end,
  })
end

local function choose(div)
  local has = all_present(div.attributes.has)
  if div.classes:includes("when") then
    if has then
      return div.content
    end
    if not div.classes:includes("quiet") then
      note_left_out(div.content)
    end
    return {}
  elseif div.classes:includes("unless") then
    return has and {} or div.content
  end
end

-- A walk does not look at what a filter has put in place, so what is kept is walked anew.
local resolve
function resolve(div)
  local kept = choose(div)
  if kept then
    return pandoc.Blocks(kept):walk({ traverse = "topdown", Div = resolve }), false
  end
end

local function left_out_list(div)
  if not div.classes:includes("left-out") then
    return nil
  elseif #left_out > 0 then
    local said = "Slides omitted (not part of this study, or with single radiographs): " .. table.concat(left_out, " · ") .. "."
    div.content = { pandoc.Para(pandoc.Inlines(said)) }
  end
  return div
end

-- The name of a figure from its path: figures/curves_by_depth.svg -> curves_by_depth.
local function figure_of(image)
  local name = image.src:match("^figures/([%w_]+)%.%a+$")
  return name and staged.figures[name]
end

local function typst_string(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("\n", " ") .. '"'
end

local function html_text(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"))
end

-- What drew a figure, and how many runs it shows, as {name, address from the deck's folder,
-- report/_output/<study>/}; the address of runs is that of the first. A notebook's address is the
-- cell on its page, or its source where these results came without executed notebooks. The names
-- are short, so that the line keeps to itself: whole paths are in the links and in the notes.
local function sources(data)
  if data.made_by == "" then
    return pandoc.List({}) -- no result of the study
  end
  local source = "../../../notebooks/" .. data.made_by .. ".ipynb"
  local notebook = { name = data.made_by, address = staged.pages[data.name] or source }
  local found, runs = pandoc.List({ notebook }), pandoc.List({})
  for _, input in ipairs(data.inputs) do
    local run = input.path:match("^(runs/.+)/[^/]+$")
    if run and not runs:includes(run) then
      runs:insert(run)
    end
  end
  if #runs > 0 then
    local name = #runs == 1 and "1 run" or #runs .. " runs"
    found:insert({ name = name, address = "../../../" .. runs[1] })
  end
  return found
end

-- As text or as links.
local function sources_text(data, as_links)
  local found = sources(data)
  local said = found:map(function(one)
    return as_links and ('<a href="%s">%s</a>'):format(one.address, one.name) or one.name
  end)
  return table.concat(said, " · ")
end

-- "11.8 months (95 % CI 11.4–12.2, n = 2,611)": the value large, what is in brackets beneath it.
local function number(div)
  if not div.classes:includes("number") then
    return nil
  end
  -- To Pandoc a shortcode is words; Quarto has read it already, and keeps them in a span.
  local raw = stringify(div)
  div:walk({
    Span = function(span)
      raw = raw .. (span.attributes["data-raw"] or "")
    end,
  })
  local group, key = raw:match("{{<%s*var%s+([%w_]+)%.([%w_]+)%s*>}}")
  local text = staged.variables[group] and staged.variables[group][key]
  assert(text, "no variable of the study in a div of class number: " .. raw)
  local value, interval = text:match("^(.-) (%b())$")
  local function block(class, inlines)
    return pandoc.Div({ pandoc.Para(inlines) }, pandoc.Attr("", { class }))
  end
  -- "12.0 months", its space may be one that does not break: the unit is set smaller.
  local figure, unit = (value or text):gsub("\u{a0}", " "):match("^(%S+) (.+)$")
  local words = pandoc.Inlines({ pandoc.Str(figure or value or text) })
  if unit and typst then
    words:extend({ pandoc.Space(), pandoc.RawInline("typst", "#h2a-unit[" .. unit .. "]") })
  elseif unit then
    words:extend({ pandoc.Space(), pandoc.Span({ pandoc.Str(unit) }, pandoc.Attr("", { "unit" })) })
  end
  local blocks = pandoc.Blocks({ block("value", words) })
  if interval then
    blocks:insert(block("small", { pandoc.Str(interval:sub(2, -2)) }))
  end
  return blocks
end

-- A paragraph that is one picture becomes a figure with caption and source.
local function figure(para)
  if #para.content ~= 1 or para.content[1].t ~= "Image" then
    return nil
  end
  local image = para.content[1]
  local data = figure_of(image)
  if not data then
    return nil
  end
  if typst then
    return pandoc.RawBlock(
      "typst",
      "#h2a-figure("
        .. table.concat({
          typst_string("figures/" .. data.pdf_file),
          "alt: " .. typst_string(data.alt),
          "caption: " .. typst_string(data.caption),
          "source: " .. typst_string(sources_text(data)),
        }, ", ")
        .. ")"
    )
  end
  image.caption = pandoc.Inlines(pandoc.Str(data.alt))
  return {
    pandoc.RawBlock("html", '<figure class="shown">'),
    pandoc.Plain({ image }),
    pandoc.RawBlock(
      "html",
      "<figcaption>"
        .. html_text(data.caption)
        .. ' <span class="source">'
        .. sources_text(data, true)
        .. "</span></figcaption></figure>"
    ),
  }
end

local function cells(row)
  return pandoc.List(row):map(function(cell)
    return { pandoc.Plain({ pandoc.Str(cell) }) }
  end)
end

-- Columns of a table by name, in the order asked for; all of them if none is asked for.
local function chosen_columns(data, names)
  local chosen = pandoc.List()
  for wanted in (names or ""):gmatch("%S+") do
    local _, at = pandoc.List(data.names):find(wanted)
    if not at then
      error("table " .. data.name .. " has no column " .. wanted)
    end
    chosen:insert(at)
  end
  if #chosen == 0 then
    for at = 1, #data.names do
      chosen:insert(at)
    end
  end
  return chosen
end

-- Shares of the page's width from percents ("20 80"); 0, which is as wide as need be, without.
local function widths_of(percents, n)
  local widths = pandoc.List()
  for percent in (percents or ""):gmatch("%S+") do
    widths:insert(tonumber(percent) / 100)
  end
  while #widths < n do
    widths:insert(0)
  end
  return widths
end

local function make_table(data, chosen, first, last, widths, caption)
  local function pick(row)
    return chosen:map(function(at)
      return row[at]
    end)
  end
  local rows = pandoc.List()
  for i = first, last do
    rows:insert(cells(pick(data.rows[i])))
  end
  local aligns = chosen:map(function(at)
    return data.numeric[at] and pandoc.AlignRight or pandoc.AlignLeft
  end)
  return pandoc.utils.from_simple_table(
    pandoc.SimpleTable(pandoc.Inlines(caption or ""), aligns, widths, cells(pick(data.header)), rows)
  )
end

-- The table with only the rows that have a value in a column ("sex=both"), or without them.
local function filtered(data, condition, wanted)
  if not condition then
    return data
  end
  local column, value = condition:match("^([%w_]+)=(.*)$")
  local _, at = pandoc.List(data.names):find(column)
  if not at then
    error("table " .. data.name .. " has no column " .. tostring(column))
  end
  local rows = pandoc.List(data.rows):filter(function(row)
    return (row[at] == value) == wanted
  end)
  return { name = data.name, names = data.names, header = data.header, numeric = data.numeric, rows = rows }
end

-- The study's table; more rows than fit a page make several, each a child of a `pages` div.
local function study_table(div)
  local data = div.classes:includes("table") and staged.tables[div.attributes.name]
  if not data then
    return nil
  end
  local chosen = chosen_columns(data, div.attributes.columns)
  local widths = widths_of(typst and div.attributes.widths, #chosen)
  data = filtered(filtered(data, div.attributes.only, true), div.attributes.without, false)
  local per_page = tonumber(div.attributes.rows) or #data.rows
  if #data.rows <= per_page then
    local all = make_table(data, chosen, 1, #data.rows, widths, div.attributes.caption)
    return div.attributes.rows and pandoc.Div({ all }, pandoc.Attr("", { "dense" })) or all
  end
  local pages = pandoc.Blocks({})
  -- Even pages: 9 rows by 8 are 5 and 4, not 8 and 1.
  local n_pages = math.ceil(#data.rows / per_page)
  local rows = math.ceil(#data.rows / n_pages)
  for first = 1, #data.rows, rows do
    pages:insert(
      pandoc.Div(
        { make_table(data, chosen, first, math.min(first + rows - 1, #data.rows), widths) },
        pandoc.Attr("", { "dense" })
      )
    )
  end
  return pandoc.Div(pages, pandoc.Attr("", { "pages" }))
end

return {
  -- From the outside in: what falls out is not looked into.
  { traverse = "topdown", Div = resolve },
  { Div = left_out_list },
  checking and {} or { Div = number },
  checking and {} or { Para = figure, Div = study_table },
  {
    Meta = function(meta)
      meta["left-out"] = left_out:map(function(title)
        return pandoc.MetaString(title)
      end)
      return meta
    end,
  },
}
