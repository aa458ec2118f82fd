--[[ A range such as 5.7–6.6 stays on one line: a browser would break it after its dash.

Runs last, when variables have become their values. In the PDF a rule of the templates does the
same. No word joiner: it would travel with what is copied and hide the range from a search.
]]

if FORMAT:match("typst") then
  return {}
end

-- Words with a range in them, of text and of what content.lua writes under a figure.
local RANGE = "%d–%d"
local AROUND = "[^%s<>]*%d–%d[^%s<>]*"

return {
  {
    Str = function(word)
      if word.text:find(RANGE) then
        return pandoc.Span({ word }, pandoc.Attr("", { "whole" }))
      end
    end,
    RawBlock = function(block)
      if block.text:find("^<figcaption>") then
        block.text = block.text:gsub(AROUND, '<span class="whole">%0</span>')
        return block
      end
    end,
  },
}
