--[[ The article's own. In the PDF: boxes of statements, figures in pairs, and numbered tables. In
HTML: on a narrow screen a table wider than the page scrolls, by keyboard too, and a figure keeps
its words legible.

Runs after content.lua. The group takes its name from the heading above it.
]]

if FORMAT:match("typst") then
  return {
    {
      Div = function(div)
        if div.classes:includes("pair") then
          local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", "#h2a-pair(") })
          for _, block in ipairs(div.content) do
            blocks:extend({ pandoc.RawBlock("typst", "["), block, pandoc.RawBlock("typst", "],") })
          end
          blocks:insert(pandoc.RawBlock("typst", ")"))
          return blocks
        elseif div.classes:includes("answer") then
          local name = div.classes:includes("box") and "h2a-box" or "h2a-answer"
          local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", "#" .. name .. "[") })
          blocks:extend(div.content)
          blocks:insert(pandoc.RawBlock("typst", "]"))
          return blocks
        end
      end,
      -- Quarto takes captioned tables out of Pandoc's figures, and their captions with them.
      Table = function(table)
        local caption = pandoc.utils.blocks_to_inlines(table.caption.long)
        table.classes:insert("typst:no-figure")
        if #caption == 0 then
          return table
        end
        table.caption = { long = {} }
        caption:insert(1, pandoc.RawInline("typst", "#figure(kind: table, caption: ["))
        caption:insert(pandoc.RawInline("typst", "], ["))
        return { pandoc.Plain(caption), table, pandoc.RawBlock("typst", "])") }
      end,
    },
  }
elseif not FORMAT:match("html") then
  return {}
end

local above = ""

local function escaped(text)
  return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub('"', "&quot;"))
end

local function scrolling(what, block)
  local open = '<div class="scroll %s" role="group" tabindex="0" aria-label="%s: %s">'
  return {
    pandoc.RawBlock("html", open:format(what:lower(), what, escaped(above))),
    block,
    pandoc.RawBlock("html", "</div>"),
  }
end

return {
  {
    traverse = "topdown",
    Header = function(header)
      above = pandoc.utils.stringify(header.content)
    end,
    Plain = function(plain)
      if #plain.content == 1 and plain.content[1].t == "Image" then
        return scrolling("Figure", plain), false
      end
    end,
    Table = function(table)
      -- As wide as their words ask for: Pandoc would take shares from the dashes of the source.
      table.colspecs = table.colspecs:map(function(spec)
        return { spec[1], nil }
      end)
      return scrolling("Table", table), false
    end,
  },
}
