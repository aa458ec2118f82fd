--[[ One slide a section in HTML, one slide a page in Typst.

Runs after content.lua. A level-1 heading begins a part of the talk; a level-2 heading opens a
slide. Every slide carries the running title, the three parts with the present one marked, and the
tier of its data.

What reveal.js has and Typst lacks is mended here: columns stay beside each other, speaker notes
stay out of the text, a slide ends where its page ends.
]]

local typst = FORMAT:match("typst") ~= nil
local stringify = pandoc.utils.stringify

-- Blocks with a look of their own; slides.css and templates/slides.typ know the same names.
local KINDS = { "answer", "reading", "small", "big", "fine", "dense", "value" }

local staged
do
  local file = assert(io.open("_staged.json", "r"))
  staged = pandoc.json.decode(file:read("a"), false)
  file:close()
end

local function raw(text)
  return pandoc.RawBlock(typst and "typst" or "html", text)
end

local function html_text(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"))
end

local function typst_string(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"') .. '"'
end

-- ------------------------------------------------------------------ the document into slides

-- Slides in order: {header, part, blocks}. A part `outside` the talk is named on its own slides only.
local function split(blocks)
  local slides, parts = pandoc.List(), pandoc.List()
  local part
  for _, block in ipairs(blocks) do
    if block.t == "Header" and block.level == 1 then
      part = stringify(block.content)
      if not block.classes:includes("outside") then
        parts:insert(part)
      end
    elseif block.t == "Header" and block.level == 2 then
      slides:insert({ header = block, part = part, blocks = pandoc.Blocks({}) })
    elseif #slides > 0 then
      slides[#slides].blocks:insert(block)
    else
      error("text before the first slide: " .. stringify(block))
    end
  end
  return slides, parts
end

-- A slide with a table of several pages becomes as many slides: "All runs (2 of 3)".
local function spread(slides)
  local out = pandoc.List()
  for _, slide in ipairs(slides) do
    local _, at = slide.blocks:find_if(function(block)
      return block.t == "Div" and block.classes:includes("pages")
    end)
    if not at then
      out:insert(slide)
    else
      local pages = slide.blocks[at].content
      for i, page in ipairs(pages) do
        local blocks = pandoc.Blocks(slide.blocks)
        blocks[at] = page
        local header = slide.header:clone()
        header.identifier = header.identifier .. (i > 1 and "-" .. i or "")
        header.content:extend({ pandoc.Space(), pandoc.Str(("(%d of %d)"):format(i, #pages)) })
        out:insert({ header = header, part = slide.part, blocks = blocks })
      end
    end
  end
  return out
end

-- ------------------------------------------------------------------ what a slide shows

-- The figures on a slide, in order, as staged.
local function figures_on(slide)
  local found, seen = pandoc.List(), {}
  local function add(path)
    local name = path:match("^figures/([%w_]+)%.[%a.]+$")
    if name and staged.figures[name] and not seen[name] then
      seen[name] = true
      found:insert(staged.figures[name])
    end
  end
  slide.blocks:walk({
    Image = function(image)
      add(image.src)
    end,
    RawBlock = function(block)
      for path in block.text:gmatch('#h2a%-figure%("([^"]+)"') do
        add(path)
      end
    end,
  })
  return found
end

-- A radiograph needs a dark room: the slide takes the ground its pictures were drawn on.
local function ground_of(figures)
  local ground = typst and "pdf_ground" or "ground"
  for _, figure in ipairs(figures) do
    if figure[ground] == "light" then
      return nil
    end
  end
  return figures[1] and figures[1][ground]
end

-- Whether a slide holds words alone, which may then be larger.
local function words_alone(slide)
  local alone = true
  local function no()
    alone = false
  end
  slide.blocks:walk({
    Image = no,
    Table = no,
    RawBlock = function(block)
      alone = alone and not block.text:find("#h2a-figure", 1, true)
    end,
    Div = function(div)
      alone = alone and div.identifier ~= "refs"
    end,
  })
  return alone
end

-- What the data of a slide are: the study's, and others that its figures show in their place.
local function tier_of(figures)
  local tiers = pandoc.List({ staged.tier_label })
  for _, figure in ipairs(figures) do
    if not tiers:includes(figure.tier) then
      tiers:insert(figure.tier)
    end
  end
  return (table.concat(tiers, " · pictures: "):gsub("pictures: %u", string.lower))
end

-- The parts of the talk; of a slide outside of them, its own part alone.
local function parts_with(part, parts)
  return parts:includes(part) and parts or pandoc.List({ part })
end

-- Where a figure comes from, for the speaker's notes: notebook, inputs, and their hashes.
local function provenance(figure)
  local inputs = pandoc.List()
  for _, input in ipairs(figure.inputs) do
    if #inputs < 4 then
      inputs:insert(input.path .. " (sha256 " .. input.sha256:sub(1, 12) .. "…)")
    end
  end
  local more = #figure.inputs - #inputs
  return pandoc.Para({
    pandoc.Str(
      ("Figure %s: drawn by notebooks/%s.ipynb from %s%s."):format(
        figure.name,
        figure.made_by,
        table.concat(inputs, ", "),
        more > 0 and (" and " .. more .. " more") or ""
      )
    ),
  })
end

-- ------------------------------------------------------------------ HTML

local function running_html(slide, parts, title, number, total, tier)
  local names = parts_with(slide.part, parts):map(function(name)
    local class = name == slide.part and ' class="here"' or ""
    return "<span" .. class .. ">" .. html_text(name) .. "</span>"
  end)
  return raw(
    '<div class="running top"><span class="talk">'
      .. html_text(title)
      .. '</span><span class="parts">'
      .. table.concat(names)
      .. '</span></div><div class="running tier"><span class="number">'
      .. number
      .. " / "
      .. total
      .. "</span>"
      .. html_text(tier)
      .. "</div>"
  )
end

local function to_html(slide, parts, title, number, total)
  local header = slide.header
  local figures = figures_on(slide)
  local ground = ground_of(figures)
  if words_alone(slide) then
    header.classes:insert("words")
  end
  if ground then
    header.attributes["background-color"] = ground
    header.classes:insert("dark")
  end
  local blocks, notes = pandoc.Blocks({}), pandoc.Blocks({})
  for _, block in ipairs(slide.blocks) do
    if block.t == "Div" and block.classes:includes("notes") then
      notes:extend(block.content)
    else
      blocks:insert(block)
    end
  end
  notes:extend(figures
    :filter(function(figure)
      return figure.made_by ~= ""
    end)
    :map(provenance))
  local out = pandoc.Blocks({ header })
  out:extend(blocks)
  out:insert(running_html(slide, parts, title, number, total, tier_of(figures)))
  if #notes > 0 then
    out:insert(pandoc.Div(notes, pandoc.Attr("", { "notes" })))
  end
  return out
end

-- ------------------------------------------------------------------ Typst

local function has_figure(blocks)
  local found = false
  blocks:walk({
    RawBlock = function(block)
      found = found or block.text:find("#h2a-figure", 1, true) ~= nil
    end,
  })
  return found
end

-- Divs within divs: a walk does not look into what a filter has put in place.
local kind
local function inside(div)
  return div.content:walk({ traverse = "topdown", Div = kind })
end

local function columns(div)
  local widths, out = pandoc.List(), pandoc.Blocks({})
  for _, column in ipairs(div.content) do
    if column.t == "Div" and column.classes:includes("column") then
      local width = (column.attributes.width or "1"):match("[%d.]+")
      widths:insert(width .. "fr")
      out:insert(raw(#widths > 1 and "],[" or "["))
      out:extend(inside(column):walk({
        RawBlock = function(block)
          block.text = block.text:gsub("^#h2a%-figure%(", "#h2a-figure(in-columns: true, ")
          return block
        end,
      }))
    end
  end
  -- Figures take the height that is left on the page; text takes its own.
  local name = has_figure(div.content) and "h2a-figure-columns" or "h2a-columns"
  out:insert(1, raw("#" .. name .. "((" .. table.concat(widths, ", ") .. ",),"))
  out:insert(raw("])"))
  return out
end

function kind(div)
  if div.classes:includes("notes") then
    return {}
  elseif div.classes:includes("columns") then
    return columns(div), false
  elseif div.identifier == "refs" then
    -- Still empty: citeproc fills it after this filter.
    return { raw("#h2a-references["), div, raw("]") }, false
  end
  for _, name in ipairs(KINDS) do
    if div.classes:includes(name) then
      local out = pandoc.Blocks({ raw("#h2a-" .. name .. "[") })
      out:extend(inside(div))
      out:insert(raw("]"))
      return out, false
    end
  end
end

local function to_typst(slide, parts)
  local title, figures = stringify(slide.header.content), figures_on(slide)
  -- A comma after each: without it Typst takes a list of one for the text itself.
  local names = parts_with(slide.part, parts):map(function(name)
    return typst_string(name) .. ","
  end)
  local arguments = pandoc.List({
    "part: " .. typst_string(slide.part or ""),
    "parts: (" .. table.concat(names, " ") .. ")",
    "tier: " .. typst_string(tier_of(figures)),
    "title: " .. typst_string(title),
  })
  local ground = ground_of(figures)
  if ground then
    arguments:insert("ground: rgb(" .. typst_string(ground) .. ")")
  end
  if slide.header.classes:includes("opening") or slide.header.identifier == "aims" then
    local look = slide.header.identifier == "aims" and "answers" or "opening"
    arguments:insert('look: "' .. look .. '"')
  elseif words_alone(slide) then
    arguments:insert('look: "' .. (slide.header.classes:includes("few") and "few" or "words") .. '"')
  end
  local out = pandoc.Blocks({ raw("#h2a-slide(" .. table.concat(arguments, ", ") .. ")[") })
  local first = slide.blocks[1]
  if slide.header.classes:includes("opening") and first.t == "Div" and first.classes:includes("columns") then
    -- The title stands beside the picture, which so has the page's height.
    first.content[1].content:insert(1, slide.header)
  else
    out:insert(slide.header)
  end
  out:extend(slide.blocks:walk({ traverse = "topdown", Div = kind }))
  out:insert(raw("]"))
  return out
end

-- ------------------------------------------------------------------ the whole

local function deck(doc)
  local title = stringify(doc.meta.title)
  local slides, parts = split(doc.blocks)
  slides = spread(slides)
  local out = pandoc.Blocks({})
  for number, slide in ipairs(slides) do
    out:extend(typst and to_typst(slide, parts) or to_html(slide, parts, title, number, #slides))
  end
  doc.blocks = out
  if typst then
    -- The template gives it to every page.
    doc.meta["h2a-title"] = pandoc.RawInline("typst", typst_string(title))
  else
    -- The title slide is an ordinary slide, so that both renderers lay it out alike.
    doc.meta.pagetitle = doc.meta.title
    doc.meta.title = nil
  end
  return doc
end

return { { Pandoc = deck } }
